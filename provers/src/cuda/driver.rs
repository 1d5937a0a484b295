//! The CUDA driver, loaded when it is needed: one context, one stream, and memory.
//!
//! Only functions that every driver since CUDA 11 has are used: a missing one would be a panic.
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

use super::{Absent, compile::Version};
use crate::device::device_error;

/// The oldest driver that the kernels are built for.
const OLDEST: Version = Version { major: 11, minor: 4 };

/// What the driver's version has to be multiplied with: it is one number.
const MAJOR: c_int = 1000;

/// The driver, found, new enough and initialised.
#[derive(Clone, Copy, Debug)]
pub(super) struct Driver {
    version: Version,
}

impl Driver {
    pub(super) fn load() -> Result<Self, Absent> {
        // SAFETY: loading NVIDIA's library runs its initialisers, which have no conditions.
        if !unsafe { sys::is_culib_present() } {
            return Err(Absent::NoDriver);
        }
        let mut version = 0;
        // SAFETY: the pointer is to an integer that may be written.
        unsafe { sys::cuDriverGetVersion(&mut version) }.result()?;
        let version = Version {
            major: version / MAJOR,
            minor: version % MAJOR / 10,
        };
        if version < OLDEST {
            return Err(Absent::DriverTooOld {
                driver: version,
                oldest: OLDEST,
            });
        }
        result::init().map_err(|error| match error.0 {
            sys::CUresult::CUDA_ERROR_NO_DEVICE => Absent::NoDevice,
            _ => Absent::Driver(error),
        })?;
        Ok(Self { version })
    }

    pub(super) fn version(self) -> Version {
        self.version
    }

    pub(super) fn devices(self) -> Result<c_int, Absent> {
        match result::device::get_count()? {
            0 => Err(Absent::NoDevice),
            count => Ok(count),
        }
    }
}

/// One GPU.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gpu(sys::CUdevice);

impl Gpu {
    pub(super) fn new(_: Driver, ordinal: c_int) -> Result<Self, Absent> {
        Ok(Self(result::device::get(ordinal)?))
    }

    pub(super) fn name(self) -> Result<String, Absent> {
        Ok(result::device::get_name(self.0)?)
    }

    pub(super) fn memory_bytes(self) -> Result<u64, Absent> {
        // SAFETY: the device is one that the driver gave.
        Ok(unsafe { result::device::total_mem(self.0) }? as u64)
    }

    /// A number that describes the device; `None` where the driver does not tell, or tells nothing of use.
    pub(super) fn attribute(self, attribute: Attribute) -> Option<c_int> {
        // SAFETY: the device is one that the driver gave.
        unsafe { result::device::get_attribute(self.0, attribute) }
            .ok()
            .filter(|&value| value > 0)
    }

    /// The compute capability times ten.
    pub(super) fn capability(self) -> Result<c_int, Absent> {
        let part = |attribute| {
            // SAFETY: the device is one that the driver gave.
            unsafe { result::device::get_attribute(self.0, attribute) }
        };
        let major = part(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = part(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        Ok(major * 10 + minor)
    }
}

/// One kernel of a [`Session`]; used with no other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernel(sys::CUfunction);

// SAFETY: it is only used by its session, on whichever thread that is.
unsafe impl Send for Kernel {}

/// Memory of a [`Session`]; used with no other, and not after it was freed.
#[derive(Debug)]
pub(super) struct Allocation(sys::CUdeviceptr);

impl Allocation {
    /// What kernels are given.
    pub(super) fn address(&self) -> u64 {
        self.0
    }
}

/// The GPU's context with the kernels in it, and one stream of least priority.
///
/// It takes some hundred MiB of the GPU's memory, for as long as it lives.
#[derive(Debug)]
pub(super) struct Session {
    gpu: Gpu,
    context: sys::CUcontext,
    module: sys::CUmodule,
    stream: sys::CUstream,
    /// Follows each piece of work, so that the host's thread sleeps until it is done instead of spinning.
    done: sys::CUevent,
}

// SAFETY: the driver's handles may be used from any thread on which the context is made current, which every function
// here does first; and there is no way to use them on two threads at once, since all functions that do take `&mut self`
// or only read.
unsafe impl Send for Session {}

impl Session {
    pub(super) fn open(gpu: Gpu, image: &[u8]) -> Result<Self, Absent> {
        // SAFETY: the device is one that the driver gave; `Retained` releases the context again on every way out.
        let retained = Retained(gpu, unsafe { result::primary_ctx::retain(gpu.0) }?);
        // SAFETY: the context was just retained.
        unsafe { result::ctx::set_current(retained.1) }?;
        // SAFETY: the image is what the compiler made, with its own length or a zero byte at its end.
        let module = unsafe { result::module::load_data(image.as_ptr().cast()) }.map_err(Absent::Image)?;
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
        // SAFETY: the context is retained for as long as the session lives.
        unsafe { result::ctx::set_current(self.context) }.map_err(device_error)
    }

    pub(super) fn kernel(&self, name: &str) -> Result<Kernel, Absent> {
        let name = CString::new(name).map_err(|_| Absent::Kernels("a zero byte in a name".into()))?;
        // SAFETY: the module is loaded for as long as the session lives.
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
        // SAFETY: the memory is written by kernels before it is read.
        match unsafe { result::malloc_sync(size) } {
            Ok(address) => Ok(Allocation(address)),
            Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => Err(refused()),
            Err(error) => Err(device_error(error)),
        }
    }

    /// Gives memory back. After an error of the device there is nothing to do about a second one.
    pub(super) fn free(&mut self, allocation: Allocation) {
        if self.make_current().is_ok() {
            // SAFETY: the allocation came from this session and is consumed; all work was waited for.
            let _ = unsafe { result::free_sync(allocation.0) };
        }
    }

    /// Puts a kernel into the stream.
    ///
    /// # Safety
    ///
    /// The arguments are pointers to values of exactly the kernel's parameters, and the memory that they name is large
    /// enough for what so many groups touch.
    pub(super) unsafe fn launch(
        &mut self,
        kernel: Kernel,
        groups: u32,
        group: u32,
        arguments: &mut [*mut c_void],
    ) -> Result<(), ProverError> {
        self.make_current()?;
        // SAFETY: the kernel is of this session's module, and the caller answers for the arguments.
        unsafe { result::launch_kernel(kernel.0, (groups, 1, 1), (group, 1, 1), 0, self.stream, arguments) }
            .map_err(device_error)
    }

    /// Puts a copy within the device's memory into the stream.
    ///
    /// # Safety
    ///
    /// Both allocations have so many bytes.
    pub(super) unsafe fn copy(
        &mut self,
        to: &Allocation,
        from: &Allocation,
        bytes: u64,
    ) -> Result<(), ProverError> {
        self.make_current()?;
        // SAFETY: the caller answers for the sizes; `bytes` was the size of an allocation and so fits.
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

    /// Reads memory from its start on, after all work is done.
    ///
    /// # Safety
    ///
    /// The allocation has at least so many bytes, and they were written.
    pub(super) unsafe fn read(
        &mut self,
        allocation: &Allocation,
        bytes: usize,
    ) -> Result<Vec<u8>, ProverError> {
        self.wait()?;
        let mut read = vec![0_u8; bytes];
        // SAFETY: the caller answers for the size, and nothing writes there any more.
        unsafe { result::memcpy_dtoh_sync(&mut read, allocation.0) }.map_err(device_error)?;
        Ok(read)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.make_current().is_ok() {
            // SAFETY: each was created by this session and is used by nobody else. Errors leave nothing to do: the
            // context, with all that is in it, goes with the process at the latest.
            unsafe {
                let _ = result::event::destroy(self.done);
                let _ = result::stream::destroy(self.stream);
                let _ = result::module::unload(self.module);
            }
        }
        drop(Retained(self.gpu, self.context));
    }
}

/// A retained context, with all that was made in it.
struct Retained(Gpu, sys::CUcontext);

impl Drop for Retained {
    fn drop(&mut self) {
        // SAFETY: it was retained once, and is released once.
        let _ = unsafe { result::primary_ctx::release(self.0.0) };
    }
}

/// The PCI address of a device, as system tools print it; `None` where the driver does not tell.
pub(super) fn pci_address(gpu: Gpu) -> Option<String> {
    const BYTES: usize = 32;
    let mut text = MaybeUninit::<[u8; BYTES]>::zeroed();
    // SAFETY: the pointer is to so many bytes, and the driver ends what it writes with a zero byte; all bytes were
    // zeroed before.
    let text = unsafe {
        sys::cuDeviceGetPCIBusId(text.as_mut_ptr().cast(), BYTES as c_int, gpu.0)
            .result()
            .ok()?;
        text.assume_init()
    };
    let end = text.iter().position(|&byte| byte == 0)?;
    String::from_utf8(text[..end].to_vec()).ok()
}
