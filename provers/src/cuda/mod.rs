//! Back end for NVIDIA's GPUs.
//!
//! The driver and the compiler are loaded at run time, so that this builds and runs everywhere and reports
//! what is missing. The kernels are compiled for the GPU that runs them.

mod compile;
mod driver;

use std::ffi::{c_int, c_void};

use assay_proof::{Hash, ITEM_BYTES, prover::ProverError};
use cudarc::{
    driver::{DriverError, sys::CUdevice_attribute as Attribute},
    nvrtc::result::NvrtcError,
};

pub use self::compile::Version;
use self::{
    compile::Compiler,
    driver::{Allocation, Driver, Gpu, Kernel, Session},
};
use crate::{
    device::{
        Device, Fill, HardwareLimits, Layout, Source, Walk, failure, fold_buffer_nodes, nodes_of_bytes,
    },
    gpu::{GpuOptions, GpuProver},
    identity::DeviceIdentity,
};

/// Threads of a group, as in the kernels.
const GROUP: u32 = 128;

/// Reason for which CUDA cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// The driver's library is missing.
    #[error(
        "the NVIDIA driver's library libcuda was not found; install the NVIDIA driver, or give the container access to \
         it"
    )]
    NoDriver,

    /// The driver finds no device.
    #[error("the NVIDIA driver finds no GPU; check with nvidia-smi")]
    NoDevice,

    /// The driver is too old.
    #[error("the NVIDIA driver supports CUDA {driver}, but at least {oldest} is required; update the driver")]
    DriverTooOld {
        /// CUDA version of the driver.
        driver: Version,
        /// Oldest supported version.
        oldest: Version,
    },

    /// The compiler's library is missing.
    #[error(
        "CUDA's compiler library libnvrtc was not found; install it (package cuda-nvrtc of NVIDIA's CUDA repository, \
         or the Python package nvidia-cuda-nvrtc) and name its folder in LD_LIBRARY_PATH"
    )]
    NoCompiler,

    /// The compiler is too old.
    #[error("libnvrtc has version {compiler}, but at least {oldest} is required; install a newer one")]
    CompilerTooOld {
        /// Version of the compiler.
        compiler: Version,
        /// Oldest supported version.
        oldest: Version,
    },

    /// The compiler's output is too new for the driver.
    #[error(
        "the NVIDIA driver supports CUDA {driver} and rejects the output of libnvrtc {compiler}; update the driver, \
         or install libnvrtc {}",
        driver.major
    )]
    DriverOlderThanCompiler {
        /// CUDA version of the driver.
        driver: Version,
        /// Version of the compiler.
        compiler: Version,
    },

    /// The compiler no longer supports this old device.
    #[error(
        "the GPU has compute capability {}.{}, which libnvrtc {compiler} no longer supports; install an older one",
        capability / 10,
        capability % 10
    )]
    DeviceTooOld {
        /// Compute capability times ten.
        capability: c_int,
        /// Version of the compiler.
        compiler: Version,
    },

    /// The kernels did not compile. A missing libnvrtc-builtins has the same symptom.
    #[error("the kernels could not be compiled: {0}")]
    Kernels(String),

    /// The compiler failed.
    #[error("libnvrtc failed: {0}; check that libnvrtc-builtins is in the same folder")]
    Compiler(#[from] NvrtcError),

    /// The driver refused the compiled kernels.
    #[error("the NVIDIA driver refused the compiled kernels: {0}; update the driver")]
    Image(DriverError),

    /// The driver failed.
    #[error("the NVIDIA driver failed: {0}")]
    Driver(#[from] DriverError),
}

/// Loads everything that CUDA needs and returns the identities of the GPUs, in the driver's order; at least
/// one.
///
/// The driver's list is made once in the life of a process: a position stays that of its GPU.
pub fn devices() -> Result<Vec<DeviceIdentity>, CudaError> {
    let (driver, _) = load()?;
    (0..driver.devices()?)
        .map(|ordinal| Ok(Gpu::new(driver, ordinal)?.identity()))
        .collect()
}

/// Starts a prover on one of the GPUs, counted from zero as the driver does.
pub fn prover(ordinal: u32, options: GpuOptions) -> Result<GpuProver, CudaError> {
    let device = CudaDevice::new(c_int::try_from(ordinal).unwrap_or(c_int::MAX))?;
    Ok(GpuProver::new(Box::new(device), options))
}

fn load() -> Result<(Driver, Compiler), CudaError> {
    let driver = Driver::load()?;
    let compiler = Compiler::load()?;
    // Within a major version older drivers run newer machine code.
    if compiler.version().major > driver.version().major {
        return Err(CudaError::DriverOlderThanCompiler {
            driver: driver.version(),
            compiler: compiler.version(),
        });
    }
    Ok((driver, compiler))
}

struct CudaDevice {
    name: String,
    limits: HardwareLimits,
    session: Session,
    kernels: Kernels,
    memory: Option<Allocations>,
    copy: Option<([Allocation; 2], u64)>,
}

struct Kernels {
    fill: Kernel,
    walk: Kernel,
    walk_made: Kernel,
    fold: Kernel,
}

/// Device memory of a challenge.
struct Allocations {
    layout: Layout,
    /// Stored items; `None` for an opening, which stores none.
    items: Option<Allocation>,
    /// Two buffers of nodes: the leaves are in the first, and folds alternate between them.
    nodes: [Allocation; 2],
}

impl CudaDevice {
    fn new(ordinal: c_int) -> Result<Self, CudaError> {
        let (driver, compiler) = load()?;
        let gpu = Gpu::new(driver, ordinal)?;
        let capability = gpu.capability()?;
        let session = Session::open(gpu, &compiler.compiled(capability)?)?;
        let address = driver::pci_address(gpu).unwrap_or_else(|| ordinal.to_string());
        Ok(Self {
            name: format!(
                "CUDA, {} at {address}, driver for {}, NVRTC {}",
                gpu.name()?,
                driver.version(),
                compiler.version()
            ),
            limits: limits(gpu, capability)?,
            kernels: Kernels {
                fill: session.kernel("fill")?,
                walk: session.kernel("walk")?,
                walk_made: session.kernel("walk_made")?,
                fold: session.kernel("fold")?,
            },
            session,
            memory: None,
            copy: None,
        })
    }

    /// Launches a kernel with so many threads.
    ///
    /// # Safety
    ///
    /// See [`Session::launch`]. The kernel itself handles threads past the end in the last group.
    #[allow(unsafe_code)]
    unsafe fn launch(
        &mut self,
        kernel: Kernel,
        threads: u32,
        arguments: &mut [*mut c_void],
    ) -> Result<(), ProverError> {
        // SAFETY: the caller guarantees the arguments.
        unsafe {
            self.session
                .launch(kernel, threads.div_ceil(GROUP), GROUP, arguments)
        }
    }

    /// Returns the addresses of the memory after a check that it is large enough.
    fn addresses(&self, end_item: u64, lanes: u32) -> Result<Addresses, ProverError> {
        let memory = self
            .memory
            .as_ref()
            .filter(|memory| end_item <= memory.layout.items.into() && lanes <= memory.layout.lanes)
            .ok_or_else(|| failure("too little memory was taken for the challenge"))?;
        Ok(Addresses {
            items: memory.items.as_ref().map_or(0, Allocation::address),
            nodes: memory.nodes.each_ref().map(Allocation::address),
        })
    }
}

/// Addresses of a challenge's memory, for kernel arguments.
struct Addresses {
    items: u64,
    nodes: [u64; 2],
}

#[allow(unsafe_code)]
impl Device for CudaDevice {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn limits(&self) -> HardwareLimits {
        self.limits
    }

    fn free_bytes(&self) -> Result<Option<u64>, ProverError> {
        self.session.free_bytes().map(Some)
    }

    fn most_items(&self) -> u32 {
        u32::MAX
    }

    fn allocate(&mut self, layout: Layout) -> Result<(), ProverError> {
        self.free();
        let [left, right] = fold_buffer_nodes(layout.lanes, GROUP).map(|nodes| nodes * 32);
        let item_bytes = u64::from(layout.items) * ITEM_BYTES;
        let sizes = [left, right, item_bytes];
        let mut taken = Vec::with_capacity(sizes.len());
        for bytes in sizes.into_iter().filter(|&bytes| bytes > 0) {
            match self.session.allocate(bytes) {
                Ok(allocation) => taken.push(allocation),
                Err(error) => {
                    taken
                        .into_iter()
                        .for_each(|allocation| self.session.free(allocation));
                    return Err(error);
                }
            }
        }
        let mut taken = taken.into_iter();
        if let (Some(left), Some(right)) = (taken.next(), taken.next()) {
            self.memory = Some(Allocations {
                layout,
                items: taken.next(),
                nodes: [left, right],
            });
        }
        Ok(())
    }

    fn free(&mut self) {
        let memory = self.memory.take();
        let copy = self.copy.take();
        if memory.is_none() && copy.is_none() {
            return;
        }
        // An error appears at the next call.
        let _ = self.session.wait();
        if let Some(memory) = memory {
            memory
                .nodes
                .into_iter()
                .chain(memory.items)
                .for_each(|allocation| self.session.free(allocation));
        }
        if let Some((copy, _)) = copy {
            copy.into_iter()
                .for_each(|allocation| self.session.free(allocation));
        }
    }

    fn fill(&mut self, fill: &Fill) -> Result<(), ProverError> {
        let mut to = self
            .addresses(u64::from(fill.first_item) + u64::from(fill.items), 0)?
            .items;
        let Fill {
            mut seed,
            mut double_rounds,
            first_item: mut first,
            items: mut count,
        } = *fill;
        let mut arguments = [
            argument(&mut to),
            argument(&mut seed),
            argument(&mut double_rounds),
            argument(&mut first),
            argument(&mut count),
        ];
        // SAFETY: these are the kernel's parameters; the items were checked to be within the memory.
        unsafe { self.launch(self.kernels.fill, count, &mut arguments) }?;
        self.session.wait()
    }

    fn walk(&mut self, walk: &Walk, levels: u8) -> Result<Vec<Hash>, ProverError> {
        let stored = match walk.source {
            Source::Memory => walk.items,
            Source::Made { .. } => 0,
        };
        let Addresses {
            items: mut from,
            mut nodes,
        } = self.addresses(stored.into(), walk.lanes)?;
        let Walk {
            mut seed,
            mut items,
            mut steps,
            first_lane: mut first,
            lanes: mut count,
            ..
        } = *walk;
        match walk.source {
            Source::Memory => {
                let mut arguments = [
                    argument(&mut from),
                    argument(&mut items),
                    argument(&mut nodes[0]),
                    argument(&mut seed),
                    argument(&mut steps),
                    argument(&mut first),
                    argument(&mut count),
                ];
                // SAFETY: these are the kernel's parameters; every index is below the number of items, and
                // the leaves were checked to have room.
                unsafe { self.launch(self.kernels.walk, count, &mut arguments) }?;
            }
            Source::Made {
                mut fill_double_rounds,
            } => {
                let mut arguments = [
                    argument(&mut items),
                    argument(&mut nodes[0]),
                    argument(&mut seed),
                    argument(&mut fill_double_rounds),
                    argument(&mut steps),
                    argument(&mut first),
                    argument(&mut count),
                ];
                // SAFETY: these are the kernel's parameters, and the leaves were checked to have room.
                unsafe { self.launch(self.kernels.walk_made, count, &mut arguments) }?;
            }
        }
        for level in 1..=levels {
            let mut pairs = walk.lanes >> level;
            let from = usize::from(level - 1) % 2;
            let (mut below, mut above) = (nodes[from], nodes[1 - from]);
            let mut arguments = [argument(&mut below), argument(&mut above), argument(&mut pairs)];
            // SAFETY: these are the kernel's parameters. The first buffer holds all leaves, the second one
            // half as many nodes, and each level has half of the one below.
            unsafe { self.launch(self.kernels.fold, pairs, &mut arguments) }?;
        }
        let bytes = (walk.lanes >> levels) as usize * 32;
        let memory = self
            .memory
            .as_ref()
            .ok_or_else(|| failure("no memory was taken"))?;
        // SAFETY: the nodes were just written.
        let read = unsafe { self.session.read(&memory.nodes[usize::from(levels) % 2], bytes) }?;
        Ok(nodes_of_bytes(&read))
    }

    fn copy_buffers(&mut self, half_bytes: u64) -> Result<u64, ProverError> {
        self.free();
        let from = self.session.allocate(half_bytes)?;
        match self.session.allocate(half_bytes) {
            Ok(to) => {
                self.copy = Some(([from, to], half_bytes));
                Ok(half_bytes)
            }
            Err(error) => {
                self.session.free(from);
                Err(error)
            }
        }
    }

    fn copy(&mut self) -> Result<(), ProverError> {
        let ([from, to], bytes) = self
            .copy
            .as_ref()
            .ok_or_else(|| failure("no memory was taken for the copy"))?;
        // SAFETY: both were allocated with that many bytes.
        unsafe { self.session.copy(to, from, *bytes) }?;
        self.session.wait()
    }
}

/// Frees the memory before the context ends.
impl Drop for CudaDevice {
    fn drop(&mut self) {
        self.free();
    }
}

fn argument<T>(value: &mut T) -> *mut c_void {
    let value: *mut T = value;
    value.cast()
}

fn limits(gpu: Gpu, capability: c_int) -> Result<HardwareLimits, CudaError> {
    let number = |attribute| gpu.attribute(attribute).map(f64::from);
    let integer_operations_per_second = || {
        let multiprocessors = number(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        let clock_khz = number(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE)?;
        Some(multiprocessors * clock_khz * 1e3 * integer_operations_per_clock(capability)?)
    };
    let memory_bytes_per_second = || {
        let clock_khz = number(Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE)?;
        let bus_bits = number(Attribute::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH)?;
        // Both edges of the clock carry data.
        Some(2.0 * clock_khz * 1e3 * bus_bits / 8.0)
    };
    Ok(HardwareLimits {
        memory_bytes: Some(gpu.memory_bytes()?),
        integer_operations_per_second: integer_operations_per_second(),
        memory_bytes_per_second: memory_bytes_per_second(),
    })
}

/// Returns the 32-bit logic operations and shifts that a multiprocessor finishes per clock, by the CUDA
/// programming guide's table of arithmetic throughput; `None` for generations without an entry here.
fn integer_operations_per_clock(capability: c_int) -> Option<f64> {
    matches!(capability, 70..=90).then_some(64.0)
}
