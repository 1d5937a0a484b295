//! Detection of the back ends and devices of this machine.

use std::{fmt, str::FromStr};

use assay_proof::{
    ChallengeParams, Hash, SlotProof,
    prover::{Commitment, CpuOptions, CpuProver, Prover, ProverError, Watch},
};

use crate::{
    cuda,
    device::HardwareLimits,
    gpu::{GpuOptions, GpuProver},
    identity::DeviceIdentity,
    sizing::Plan,
    wgpu::{self, WgpuOptions},
};

/// Interface through which a prover drives its hardware.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BackEnd {
    /// Cores and memory of the computer.
    Cpu,
    /// GPUs with Vulkan, Metal or Direct3D 12.
    Wgpu,
    /// NVIDIA's GPUs. The same GPU may be found by wgpu too, and is faster here.
    Cuda,
}

impl BackEnd {
    /// All back ends.
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

/// Error for a name that is no back end's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cpu, wgpu or cuda")]
pub struct NoBackEnd;

/// Parses the name, in any capitalisation.
impl FromStr for BackEnd {
    type Err = NoBackEnd;

    fn from_str(text: &str) -> Result<Self, NoBackEnd> {
        Self::ALL
            .into_iter()
            .find(|back_end| back_end.to_string().eq_ignore_ascii_case(text))
            .ok_or(NoBackEnd)
    }
}

/// Device that a back end found but has not started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundDevice {
    /// Back end that drives it.
    pub back_end: BackEnd,
    /// Index among the back end's devices.
    pub index: u32,
    /// True for a software implementation of a GPU: correct, but slower than the CPU's own prover.
    pub is_software: bool,
    /// Identity by which other programs know it; empty where the back end reports none.
    pub identity: DeviceIdentity,
}

impl FoundDevice {
    /// Returns the devices of a back end, best first. Fails if it has none.
    pub fn all_of(back_end: BackEnd) -> Result<Vec<Self>, Absent> {
        let hardware = |index| Self {
            back_end,
            index,
            is_software: false,
            identity: DeviceIdentity::default(),
        };
        match back_end {
            BackEnd::Cpu => Ok(vec![hardware(0)]),
            BackEnd::Wgpu => {
                let adapters = wgpu::found_adapters();
                if adapters.is_empty() {
                    return Err(Absent::NoAdapter);
                }
                Ok((0..)
                    .zip(adapters)
                    .map(|(index, adapter)| Self {
                        is_software: adapter.is_software,
                        identity: DeviceIdentity {
                            uuid: None,
                            pci_address: adapter.pci_address,
                        },
                        ..hardware(index)
                    })
                    .collect())
            }
            BackEnd::Cuda => Ok((0..)
                .zip(cuda::devices()?)
                .map(|(index, identity)| Self {
                    identity,
                    ..hardware(index)
                })
                .collect()),
        }
    }

    /// Starts a prover on it. Takes up to seconds: drivers start and kernels are compiled.
    ///
    /// A CUDA prover occupies some hundred MiB of its GPU's memory until it is dropped.
    pub fn start(&self, options: &DetectOptions) -> Result<AnyProver, Absent> {
        Ok(match self.back_end {
            BackEnd::Cpu => AnyProver::Cpu(CpuProver::new(options.cpu.clone())?),
            BackEnd::Wgpu => {
                let wgpu_options = WgpuOptions {
                    gpu: options.gpu,
                    buffer_limit_bytes: None,
                };
                // Positions change when a device is gone; another device must not be opened in its place.
                let index = match &self.identity.pci_address {
                    Some(address) => wgpu::adapter_at(address).ok_or_else(|| Absent::Gone {
                        address: address.clone(),
                    })?,
                    // The index came from an adapter list, so it fits.
                    None => self.index as usize,
                };
                AnyProver::Gpu(wgpu::prover(index, wgpu_options)?)
            }
            BackEnd::Cuda => AnyProver::Gpu(cuda::prover(self.index, options.gpu)?),
        })
    }
}

/// Reason for which a back end or one of its devices cannot be used, with the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Absent {
    /// CUDA is not available.
    #[error(transparent)]
    Cuda(#[from] cuda::CudaError),

    /// wgpu finds no adapter.
    #[error(
        "no GPU with Vulkan, Metal or Direct3D 12 was found; install the GPU's driver (for tests without a GPU, Debian's \
         mesa-vulkan-drivers has one in software)"
    )]
    NoAdapter,

    /// The device gave a wrong answer in its self-test.
    #[error("the self-test failed: {0}")]
    Untrue(String),

    /// The device was found, and is gone since.
    #[error("the GPU at {address} is gone since the start of this program; look at `dmesg` for the reason")]
    Gone {
        /// PCI address of the device.
        address: String,
    },

    /// The device was found but did not start.
    #[error(transparent)]
    Prover(#[from] ProverError),
}

/// Prover of any back end.
pub enum AnyProver {
    /// Prover on the cores and the memory of the computer.
    Cpu(CpuProver),
    /// Prover on a GPU.
    Gpu(GpuProver),
}

impl AnyProver {
    /// Returns the limits of the hardware, as its interface reports them.
    pub fn limits(&self) -> HardwareLimits {
        match self {
            Self::Cpu(_) => HardwareLimits::default(),
            Self::Gpu(prover) => prover.limits(),
        }
    }

    /// Returns the bytes of memory that a challenge may take now; `None` if nothing reports them.
    pub fn free_bytes(&self) -> Result<Option<u64>, ProverError> {
        match self {
            Self::Cpu(prover) => Ok(prover.free_bytes()),
            Self::Gpu(prover) => prover.free_bytes(),
        }
    }

    /// Returns the least bytes of memory that a challenge takes.
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

/// Options of the devices that are found.
#[derive(Clone, Debug, Default)]
pub struct DetectOptions {
    /// Options of the CPU.
    pub cpu: CpuOptions,
    /// Options of all GPUs.
    pub gpu: GpuOptions,
}

/// Starts a prover on every device of a back end, best first.
///
/// Fails if the back end has no device; a device that does not start is an error in the list. See
/// [`FoundDevice::start`] for the costs.
pub fn detect(back_end: BackEnd, options: &DetectOptions) -> Result<Vec<Result<AnyProver, Absent>>, Absent> {
    let devices = FoundDevice::all_of(back_end)?;
    Ok(devices.iter().map(|device| device.start(options)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_ends_are_known_by_their_names() {
        for back_end in BackEnd::ALL {
            assert_eq!(back_end.to_string().parse(), Ok(back_end));
            assert_eq!(back_end.to_string().to_uppercase().parse(), Ok(back_end));
        }
        assert_eq!("gpu".parse::<BackEnd>(), Err(NoBackEnd));
    }

    #[test]
    fn there_is_always_a_cpu() {
        let devices = FoundDevice::all_of(BackEnd::Cpu).expect("every computer has one");
        assert_eq!(devices.len(), 1);
        assert!(!devices[0].is_software);
        let prover = devices[0].start(&DetectOptions::default()).expect("it starts");
        assert!(matches!(prover, AnyProver::Cpu(_)));
    }
}
