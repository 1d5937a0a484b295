//! Which back ends this machine has.

use std::fmt;

use assay_proof::{
    ChallengeParams, Hash, SlotProof,
    prover::{Commitment, CpuOptions, CpuProver, Prover, ProverError, Watch},
};

use crate::{
    cuda,
    device::HardwareLimits,
    gpu::{GpuOptions, GpuProver},
    sizing::Plan,
    wgpu::{self, WgpuOptions},
};

/// A way of driving hardware.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BackEnd {
    /// The cores and the memory of the computer.
    Cpu,
    /// GPUs with Vulkan, Metal or Direct3D 12.
    Wgpu,
    /// NVIDIA's GPUs. The same GPU may be found by wgpu too, and is faster here.
    Cuda,
}

impl BackEnd {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Wgpu, Self::Cuda];
}

impl fmt::Display for BackEnd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Cpu => "CPU",
            Self::Wgpu => "wgpu",
            Self::Cuda => "CUDA",
        })
    }
}

/// Why a back end, or one device of it, cannot be used, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Absent {
    /// CUDA lacks something.
    #[error(transparent)]
    Cuda(#[from] cuda::Absent),

    /// wgpu finds nothing.
    #[error(
        "no GPU with Vulkan, Metal or Direct3D 12 was found; install the GPU's driver (on Debian, mesa-vulkan-drivers \
         also has one in software, for tests)"
    )]
    NoAdapter,

    /// The device was found and did not start.
    #[error(transparent)]
    Prover(#[from] ProverError),
}

/// A prover of any back end.
pub enum AnyProver {
    /// The cores and the memory of the computer.
    Cpu(CpuProver),
    /// A GPU.
    Gpu(GpuProver),
}

impl AnyProver {
    /// What the hardware can do, as far as its interface tells.
    pub fn limits(&self) -> HardwareLimits {
        match self {
            Self::Cpu(_) => HardwareLimits::default(),
            Self::Gpu(prover) => prover.limits(),
        }
    }

    /// Bytes of memory that a challenge may take now; `None` where nobody tells.
    pub fn free_bytes(&self) -> Result<Option<u64>, ProverError> {
        match self {
            Self::Cpu(prover) => Ok(prover.free_bytes()),
            Self::Gpu(prover) => prover.free_bytes(),
        }
    }

    /// Least bytes of memory that a challenge takes.
    pub fn needed_bytes(&self, params: &ChallengeParams) -> Result<u64, ProverError> {
        match self {
            Self::Cpu(prover) => Ok(prover.needed_bytes(params)),
            Self::Gpu(_) => Plan::least_bytes(params),
        }
    }

    fn as_prover(&self) -> &dyn Prover {
        match self {
            Self::Cpu(prover) => prover,
            Self::Gpu(prover) => prover,
        }
    }

    fn as_prover_mut(&mut self) -> &mut dyn Prover {
        match self {
            Self::Cpu(prover) => prover,
            Self::Gpu(prover) => prover,
        }
    }
}

impl Prover for AnyProver {
    fn name(&self) -> String {
        self.as_prover().name()
    }

    fn commit(
        &mut self,
        params: &ChallengeParams,
        seed: &Hash,
        watch: &dyn Watch,
    ) -> Result<Commitment, ProverError> {
        self.as_prover_mut().commit(params, seed, watch)
    }

    fn open(
        &mut self,
        commitment: &Commitment,
        lanes: &[u32],
        watch: &dyn Watch,
    ) -> Result<SlotProof, ProverError> {
        self.as_prover_mut().open(commitment, lanes, watch)
    }

    fn release(&mut self) {
        self.as_prover_mut().release();
    }
}

/// How devices are used once they are found.
#[derive(Clone, Debug, Default)]
pub struct DetectOptions {
    /// For the CPU.
    pub cpu: CpuOptions,
    /// For all GPUs.
    pub gpu: GpuOptions,
}

/// Starts a prover on every device of a back end, best first.
///
/// Fails where the back end has none; a device that was found and does not start is an error in the list. Takes up to
/// seconds, since drivers start and kernels are compiled. Each CUDA prover holds some hundred MiB of its GPU's memory
/// until it is dropped.
pub fn detect(back_end: BackEnd, options: &DetectOptions) -> Result<Vec<Result<AnyProver, Absent>>, Absent> {
    match back_end {
        BackEnd::Cpu => Ok(vec![Ok(AnyProver::Cpu(CpuProver::new(options.cpu.clone())?))]),
        BackEnd::Wgpu => {
            let adapters = wgpu::adapter_names().len();
            if adapters == 0 {
                return Err(Absent::NoAdapter);
            }
            let wgpu_options = WgpuOptions {
                gpu: options.gpu,
                buffer_limit_bytes: None,
            };
            let provers = (0..adapters).map(|index| {
                wgpu::prover(index, wgpu_options)
                    .map(AnyProver::Gpu)
                    .map_err(Absent::from)
            });
            Ok(provers.collect())
        }
        BackEnd::Cuda => {
            let provers = (0..cuda::devices()?).map(|ordinal| {
                cuda::prover(ordinal, options.gpu)
                    .map(AnyProver::Gpu)
                    .map_err(Absent::from)
            });
            Ok(provers.collect())
        }
    }
}
