//! CUDA driver, loaded at run time: one context, one stream, and memory.
//!
//! Only functions that every supported driver has are used: a missing one would be a panic.
#![allow(unsafe_code)]

use std::{
    ffi::{CString, c_int, c_void},
    mem::MaybeUninit,
};

use assay_proof::prover::ProverError;
use cudarc::driver::{
    result::{self, DriverError, stream::StreamKind},
    sys::{self, CUdevice_attribute as Attribute},
};

use super::{CudaError, compile::Version};
use crate::{
    device::device_error,
    identity::{DeviceIdentity, gpu_uuid, normal_pci_address},
};

/// Oldest driver that the kernels support.
const OLDEST: Version = Version { major: 11, minor: 4 };

/// Factor of the major version in the driver's version number.
const MAJOR: c_int = 1000;

/// Loaded and initialised driver of a supported version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Driver {
    version: Version,
}

impl Driver {
    pub(super) fn load() -> Result<Self, CudaError> {
        // SAFETY: loading NVIDIA's library runs its initialisers, which have no preconditions.
        if !unsafe { sys::is_culib_present() } {
            return Err(CudaError::NoDriver);
        }
        let mut version = 0;
        // SAFETY: the pointer is to a writable integer.
        unsafe { sys::cuDriverGetVersion(&mut version) }.result()?;
        let version = Version {
            major: version / MAJOR,
            minor: version % MAJOR / 10,
        };
        if version < OLDEST {
            return Err(CudaError::DriverTooOld {
                driver: version,
                oldest: OLDEST,
            });
        }
        result::init().map_err(|error| match error.0 {
            sys::CUresult::CUDA_ERROR_NO_DEVICE => CudaError::NoDevice,
            _ => CudaError::Driver(error),
        })?;
        Ok(Self { version })
    }

    pub(super) fn version(self) -> Version {
        self.version
    }

    pub(super) fn devices(self) -> Result<c_int, CudaError> {
        match result::device::get_count()? {
            0 => Err(CudaError::NoDevice),
            count => Ok(count),
        }
    }
}

/// Handle of a GPU.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gpu(sys::CUdevice);

impl Gpu {
    pub(super) fn new(_: Driver, ordinal: c_int) -> Result<Self, CudaError> {
        Ok(Self(result::device::get(ordinal)?))
    }

    pub(super) fn name(self) -> Result<String, CudaError> {
        Ok(result::device::get_name(self.0)?)
    }

    pub(super) fn memory_bytes(self) -> Result<u64, CudaError> {
        // SAFETY: the device handle came from the driver.
        Ok(unsafe { result::device::total_mem(self.0) }? as u64)
    }

    /// Returns the device's identity.
    pub(super) fn identity(self) -> DeviceIdentity {
        let mut uuid = sys::CUuuid { bytes: [0; 16] };
        // SAFETY: the pointer is to a writable UUID, and the device handle came from the driver.
        let outcome = unsafe { sys::cuDeviceGetUuid_v2(&mut uuid, self.0) }.result();
        DeviceIdentity {
            uuid: outcome.ok().map(|()| gpu_uuid(uuid.bytes.map(|byte| byte as u8))),
            pci_address: pci_address(self).as_deref().and_then(normal_pci_address),
        }
    }

    /// Returns an attribute of the device; `None` if the driver does not report a usable value.
    pub(super) fn attribute(self, attribute: Attribute) -> Option<c_int> {
        // SAFETY: the device handle came from the driver.
        unsafe { result::device::get_attribute(self.0, attribute) }
            .ok()
            .filter(|&value| value > 0)
    }

    /// Returns the compute capability times ten.
    pub(super) fn capability(self) -> Result<c_int, CudaError> {
        let part = |attribute| {
            // SAFETY: the device handle came from the driver.
            unsafe { result::device::get_attribute(self.0, attribute) }
        };
        let major = part(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = part(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        Ok(major * 10 + minor)
    }
}

/// Kernel of a [`Session`]; must not be used with another one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernel(sys::CUfunction);

// SAFETY: only its session uses it, on any thread.
unsafe impl Send for Kernel {}

/// Device memory of a [`Session`]; must not be used with another one, nor after it was freed.
#[derive(Debug)]
pub(super) struct Allocation(sys::CUdeviceptr);

impl Allocation {
    /// Returns the address for kernel arguments.
    pub(super) fn address(&self) -> u64 {
        self.0
    }
}

/// Context of a GPU with the loaded kernels, and one stream of the lowest priority.
///
/// It occupies some hundred MiB of the GPU's memory for its whole lifetime.
#[derive(Debug)]
pub(super) struct Session {
    gpu: Gpu,
    context: sys::CUcontext,
    module: sys::CUmodule,
    stream: sys::CUstream,
    /// Event after each piece of work, so that the host's thread sleeps until it is done instead of spinning.
    done: sys::CUevent,
}

// SAFETY: the driver's handles may be used from any thread on which the context is current; every function
// here makes it current first. Two threads cannot use them at once: functions take `&mut self` or only read.
unsafe impl Send for Session {}

impl Session {
    pub(super) fn open(gpu: Gpu, image: &[u8]) -> Result<Self, CudaError> {
        // SAFETY: the device handle came from the driver; `Retained` releases the context on every path.
        let retained = Retained(gpu, unsafe { result::primary_ctx::retain(gpu.0) }?);
        // SAFETY: the context was just retained.
        unsafe { result::ctx::set_current(retained.1) }?;
        // SAFETY: the image comes from the compiler and has its own length or a zero byte at its end.
        let module = unsafe { result::module::load_data(image.as_ptr().cast()) }.map_err(CudaError::Image)?;
        let (least, _) = result::stream::get_priority_range()?;
        let stream = result::stream::create_with_priority(StreamKind::NonBlocking, least)?;
        let done = result::event::create(sys::CUevent_flags::CU_EVENT_BLOCKING_SYNC)?;
        let context = retained.1;
        std::mem::forget(retained);
        Ok(Self {
            gpu,
            context,
            module,
            stream,
            done,
        })
    }

    fn make_current(&self) -> Result<(), ProverError> {
        // SAFETY: the context is retained for the session's lifetime.
        unsafe { result::ctx::set_current(self.context) }.map_err(device_error)
    }

    pub(super) fn kernel(&self, name: &str) -> Result<Kernel, CudaError> {
        let name = CString::new(name).map_err(|_| CudaError::Kernels("a zero byte in a name".into()))?;
        // SAFETY: the module is loaded for the session's lifetime.
        Ok(Kernel(unsafe {
            result::module::get_function(self.module, name)
        }?))
    }

    pub(super) fn free_bytes(&self) -> Result<u64, ProverError> {
        self.make_current()?;
        let (free, _) = result::mem_get_info().map_err(device_error)?;
        Ok(free as u64)
    }

    pub(super) fn allocate(&mut self, bytes: u64) -> Result<Allocation, ProverError> {
        let refused = || ProverError::MemoryRefused { needed_bytes: bytes };
        self.make_current()?;
        let size = usize::try_from(bytes).map_err(|_| refused())?;
        // SAFETY: kernels write the memory before it is read.
        match unsafe { result::malloc_sync(size) } {
            Ok(address) => Ok(Allocation(address)),
            Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => Err(refused()),
            Err(error) => Err(device_error(error)),
        }
    }

    /// Frees memory. Ignores errors: they follow an earlier error of the device, and have no remedy.
    pub(super) fn free(&mut self, allocation: Allocation) {
        if self.make_current().is_ok() {
            // SAFETY: the allocation came from this session and is consumed; all work has finished.
            let _ = unsafe { result::free_sync(allocation.0) };
        }
    }

    /// Puts a kernel launch into the stream.
    ///
    /// # Safety
    ///
    /// The arguments point to values of exactly the kernel's parameters, and the memory they name is large
    /// enough for that number of groups.
    pub(super) unsafe fn launch(
        &mut self,
        kernel: Kernel,
        groups: u32,
        group: u32,
        arguments: &mut [*mut c_void],
    ) -> Result<(), ProverError> {
        self.make_current()?;
        // SAFETY: the kernel belongs to this session's module, and the caller guarantees the arguments.
        unsafe { result::launch_kernel(kernel.0, (groups, 1, 1), (group, 1, 1), 0, self.stream, arguments) }
            .map_err(device_error)
    }

    /// Puts a copy within the device's memory into the stream.
    ///
    /// # Safety
    ///
    /// Both allocations have at least `bytes` bytes.
    pub(super) unsafe fn copy(
        &mut self,
        to: &Allocation,
        from: &Allocation,
        bytes: u64,
    ) -> Result<(), ProverError> {
        self.make_current()?;
        // SAFETY: the caller guarantees the sizes; `bytes` was the size of an allocation and so fits.
        unsafe { result::memcpy_dtod_async(to.0, from.0, bytes as usize, self.stream) }.map_err(device_error)
    }

    /// Waits until the stream is empty.
    pub(super) fn wait(&mut self) -> Result<(), ProverError> {
        self.make_current()?;
        // SAFETY: the event and the stream live as long as the session.
        unsafe {
            result::event::record(self.done, self.stream).map_err(device_error)?;
            result::event::synchronize(self.done).map_err(device_error)
        }
    }

    /// Reads memory from its start after all work is done.
    ///
    /// # Safety
    ///
    /// The allocation has at least that many bytes, and they were written.
    pub(super) unsafe fn read(
        &mut self,
        allocation: &Allocation,
        bytes: usize,
    ) -> Result<Vec<u8>, ProverError> {
        self.wait()?;
        let mut read = vec![0_u8; bytes];
        // SAFETY: the caller guarantees the size, and no work writes there any more.
        unsafe { result::memcpy_dtoh_sync(&mut read, allocation.0) }.map_err(device_error)?;
        Ok(read)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.make_current().is_ok() {
            // SAFETY: this session created each of them and nothing else uses them. Errors have no remedy:
            // the context, with its contents, ends with the process at the latest.
            unsafe {
                let _ = result::event::destroy(self.done);
                let _ = result::stream::destroy(self.stream);
                let _ = result::module::unload(self.module);
            }
        }
        drop(Retained(self.gpu, self.context));
    }
}

/// Retained context of a GPU, released on drop.
struct Retained(Gpu, sys::CUcontext);

impl Drop for Retained {
    fn drop(&mut self) {
        // SAFETY: the context was retained once and is released once.
        let _ = unsafe { result::primary_ctx::release(self.0.0) };
    }
}

/// Returns the PCI address of a device in the form of system tools; `None` if the driver does not report it.
pub(super) fn pci_address(gpu: Gpu) -> Option<String> {
    const BYTES: usize = 32;
    let mut text = MaybeUninit::<[u8; BYTES]>::zeroed();
    // SAFETY: the pointer is to as many bytes as passed, all zeroed, and the driver ends its output with a
    // zero byte.
    let text = unsafe {
        sys::cuDeviceGetPCIBusId(text.as_mut_ptr().cast(), BYTES as c_int, gpu.0)
            .result()
            .ok()?;
        text.assume_init()
    };
    let end = text.iter().position(|&byte| byte == 0)?;
    String::from_utf8(text[..end].to_vec()).ok()
}
