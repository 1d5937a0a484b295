//! A job's devices, in the form in which its container gets them.

use std::{fmt, path::PathBuf, sync::Arc};

use super::{
    CDI_GPU_KIND, Device, DeviceKind, DeviceLedger, Grant, Holding, SlotView, TakeError, cdi_devices,
};
use crate::{
    engine::{Container, DeviceAccess, DockerEngine, Engine, EngineError, GpuInterface},
    lease::{LeaseError, LeaseKey},
};

/// Device node through which AMD's GPUs are driven.
const KFD: &str = "/dev/kfd";

/// Value that no runtime takes for a device.
const NO_DEVICE: &str = "void";

/// Index that no runtime takes for a device.
const NO_INDEX: &str = "-1";

/// Functions of NVIDIA's driver in a container.
const DRIVER_CAPABILITIES: &str = "compute,utility";

/// Slots and devices of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobGrant {
    /// Slots and devices by their names, for the container's labels.
    pub holding: Holding,
    /// Devices for the container.
    pub access: DeviceAccess,
    /// Environment variables that keep other devices out. They go after those of image and manifest.
    pub environment: Vec<String>,
}

impl JobGrant {
    fn new(holding: Holding, access: DeviceAccess) -> Self {
        Self {
            environment: guard(&access, &holding),
            holding,
            access,
        }
    }
}

/// Variables of [`JobGrant::environment`] that hooks of runtimes obey, besides those that name the devices.
pub(crate) const HOOK_VARIABLES: [&str; 9] = [
    "DOCKER_RESOURCE_GPU",
    "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_GDRCOPY",
    "NVIDIA_GDS",
    "NVIDIA_IMEX_CHANNELS",
    "NVIDIA_MIG_CONFIG_DEVICES",
    "NVIDIA_MIG_MONITOR_DEVICES",
    "NVIDIA_MOFED",
    "NVIDIA_NVSWITCH",
];

/// Gives jobs their devices, by the ledger and in the engine's form.
#[derive(Clone, Default)]
pub struct JobDevices(Option<Arc<Parts>>);

struct Parts {
    ledger: DeviceLedger,
    engine: Engine,
    /// CDI folders of an engine that does not name its own.
    cdi: Vec<PathBuf>,
}

impl fmt::Debug for JobDevices {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ledger = self.0.as_ref().map(|parts| &parts.ledger);
        formatter.debug_tuple("JobDevices").field(&ledger).finish()
    }
}

impl JobDevices {
    /// Creates the devices of a machine. `cdi` are the folders that the engine reads if it names none.
    pub fn new(ledger: DeviceLedger, engine: Engine, cdi: Vec<PathBuf>) -> Self {
        Self(Some(Arc::new(Parts { ledger, engine, cdi })))
    }

    /// Gives a job its slots and devices, or returns those that it has.
    pub async fn take(&self, key: &LeaseKey, slots: u8) -> Result<JobGrant, LeaseError> {
        let Some(parts) = &self.0 else {
            return Ok(JobGrant::new(Holding::default(), DeviceAccess::None));
        };
        let (ledger, job) = (parts.ledger.clone(), key.clone());
        let grants = blocking(move || ledger.take(&job, slots)).await?;
        let holding = Holding {
            slots: grants.iter().map(|grant| grant.slot).collect(),
            devices: grants
                .iter()
                .filter_map(|grant| Some(grant.device.as_ref()?.id.clone()))
                .collect(),
        };
        let access = parts.access(&grants).await?;
        Ok(JobGrant::new(holding, access))
    }

    /// Frees the slots of a job that is gone.
    pub async fn release(&self, key: &LeaseKey) -> Result<(), LeaseError> {
        let Some(parts) = &self.0 else { return Ok(()) };
        let (ledger, key) = (parts.ledger.clone(), key.clone());
        blocking(move || ledger.release(&key)).await
    }

    /// Enters the slots and devices that the engine's containers have.
    pub fn note_containers(&self, containers: &[Container]) {
        let Some(parts) = &self.0 else { return };
        let holdings: Vec<_> = containers
            .iter()
            .map(|container| {
                let key = LeaseKey {
                    job: container.job,
                    fingerprint: container.fingerprint.clone(),
                };
                (key, container.holding.clone())
            })
            .collect();
        parts.ledger.note_holdings(&holdings);
    }

    /// Returns the jobs that have slots.
    pub fn holders(&self) -> Vec<LeaseKey> {
        self.0
            .as_ref()
            .map(|parts| parts.ledger.holders())
            .unwrap_or_default()
    }

    /// Returns all slots for display.
    pub fn view(&self) -> Vec<SlotView> {
        self.0
            .as_ref()
            .map(|parts| parts.ledger.view())
            .unwrap_or_default()
    }
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, TakeError> + Send + 'static,
) -> Result<T, LeaseError> {
    tokio::task::spawn_blocking(call)
        .await
        .map_err(|error| LeaseError::Failed(format!("the ledger of devices failed: {error}")))?
        .map_err(LeaseError::from)
}

impl From<TakeError> for LeaseError {
    fn from(error: TakeError) -> Self {
        match error {
            TakeError::TooFew { .. } | TakeError::Elsewhere { .. } | TakeError::Lost { .. } => {
                Self::Refused(error.to_string())
            }
            TakeError::Busy { .. } | TakeError::Lent | TakeError::Unsure | TakeError::Disk(_) => {
                Self::Failed(error.to_string())
            }
        }
    }
}

impl Parts {
    async fn access(&self, grants: &[Grant]) -> Result<DeviceAccess, LeaseError> {
        let devices: Vec<&Device> = grants.iter().filter_map(|grant| grant.device.as_ref()).collect();
        let has_nvidia = devices.iter().any(|device| device.kind == DeviceKind::Nvidia);
        let nodes: Vec<PathBuf> = devices
            .iter()
            .filter_map(|device| match &device.kind {
                DeviceKind::Amd { render_node } => Some(render_node.clone()),
                DeviceKind::Nvidia => None,
            })
            .collect();
        match (has_nvidia, nodes.is_empty()) {
            (false, true) => Ok(DeviceAccess::None),
            (false, false) => Ok(DeviceAccess::Nodes(
                [PathBuf::from(KFD)].into_iter().chain(nodes).collect(),
            )),
            (true, true) => {
                let uuids: Vec<String> = devices.iter().map(|device| device.id.0.clone()).collect();
                let Some(docker) = self.engine.docker() else {
                    // The cluster's device plugin gives them; the engine compares.
                    return Ok(DeviceAccess::Nvidia(uuids));
                };
                let interface = docker.gpu_interface().await?;
                nvidia_access(uuids, &interface, &self.cdi).map_err(LeaseError::Refused)
            }
            (true, false) => Err(LeaseError::Refused(
                "the job's slots have GPUs of two vendors; offer the GPUs of each by a worker of its own"
                    .into(),
            )),
        }
    }
}

/// Chooses the form in which an engine gives NVIDIA's GPUs.
fn nvidia_access(
    uuids: Vec<String>,
    interface: &GpuInterface,
    usual_folders: &[PathBuf],
) -> Result<DeviceAccess, String> {
    let names: Vec<String> = uuids
        .iter()
        .map(|uuid| format!("{CDI_GPU_KIND}={uuid}"))
        .collect();
    let unknown_in = |folders: &[PathBuf]| {
        let known = cdi_devices(folders);
        names.iter().find(|name| !known.contains(*name)).cloned()
    };
    match interface {
        GpuInterface::PodmanDevices => match unknown_in(usual_folders) {
            None => Ok(DeviceAccess::Cdi(names)),
            Some(name) => Err(format!(
                "no CDI specification names {name}, so Podman cannot give the GPU; run `nvidia-ctk cdi generate \
                 --device-name-strategy=uuid --output=/etc/cdi/nvidia.yaml`"
            )),
        },
        GpuInterface::DockerCdi(folders) if unknown_in(folders).is_none() => Ok(DeviceAccess::Cdi(names)),
        GpuInterface::DockerCdi(_) | GpuInterface::DockerRequests => Ok(DeviceAccess::Nvidia(uuids)),
    }
}

/// Returns the variables by which runtimes and drivers choose devices, each with the job's own or with none.
///
/// On a host whose default runtime it is, NVIDIA's hook gives a container all devices that
/// `NVIDIA_VISIBLE_DEVICES` names, even if image or manifest set it. With CDI the engine has given the
/// devices, and the hook must not act.
fn guard(access: &DeviceAccess, holding: &Holding) -> Vec<String> {
    let uuids = || {
        let ids: Vec<&str> = holding.devices.iter().map(|id| id.0.as_str()).collect();
        ids.join(",")
    };
    let indices = |count: usize| {
        let numbers: Vec<String> = (0..count).map(|number| number.to_string()).collect();
        numbers.join(",")
    };
    let none = || NO_DEVICE.to_owned();
    let (hook, cuda, rocm) = match access {
        DeviceAccess::None => (none(), none(), NO_INDEX.to_owned()),
        DeviceAccess::Cdi(_) => (none(), uuids(), NO_INDEX.to_owned()),
        DeviceAccess::Nvidia(_) => (uuids(), uuids(), NO_INDEX.to_owned()),
        // In the container only the job's devices are there, counted from zero.
        DeviceAccess::Nodes(_) => (none(), none(), indices(holding.devices.len())),
    };
    let capabilities = match access {
        DeviceAccess::Cdi(_) | DeviceAccess::Nvidia(_) => DRIVER_CAPABILITIES,
        DeviceAccess::None | DeviceAccess::Nodes(_) => "",
    };
    let disabled = "disabled";
    [
        ("NVIDIA_VISIBLE_DEVICES", hook.as_str()),
        ("NVIDIA_DRIVER_CAPABILITIES", capabilities),
        // Alternative variable of NVIDIA's hook.
        ("DOCKER_RESOURCE_GPU", hook.as_str()),
        // More device nodes, and the right to divide GPUs.
        ("NVIDIA_MIG_CONFIG_DEVICES", ""),
        ("NVIDIA_MIG_MONITOR_DEVICES", ""),
        ("NVIDIA_IMEX_CHANNELS", ""),
        ("NVIDIA_GDS", disabled),
        ("NVIDIA_MOFED", disabled),
        ("NVIDIA_GDRCOPY", disabled),
        ("NVIDIA_NVSWITCH", disabled),
        ("CUDA_VISIBLE_DEVICES", cuda.as_str()),
        ("AMD_VISIBLE_DEVICES", NO_DEVICE),
        ("ROCR_VISIBLE_DEVICES", rocm.as_str()),
        ("HIP_VISIBLE_DEVICES", rocm.as_str()),
        ("GPU_DEVICE_ORDINAL", rocm.as_str()),
    ]
    .map(|(name, value)| format!("{name}={value}"))
    .to_vec()
}

/// Returns the access of a loan to one device, for the self-test.
pub(super) async fn access_to(
    device: &Device,
    engine: &DockerEngine,
    cdi: &[PathBuf],
) -> Result<(DeviceAccess, Vec<String>), String> {
    let access = match &device.kind {
        DeviceKind::Amd { render_node } => DeviceAccess::Nodes(vec![PathBuf::from(KFD), render_node.clone()]),
        DeviceKind::Nvidia => {
            let interface = engine
                .gpu_interface()
                .await
                .map_err(|error: EngineError| error.to_string())?;
            nvidia_access(vec![device.id.0.clone()], &interface, cdi)?
        }
    };
    let holding = Holding {
        slots: Vec::new(),
        devices: vec![device.id.clone()],
    };
    let environment = guard(&access, &holding);
    Ok((access, environment))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::{super::DeviceId, *};

    fn holding(devices: &[&str]) -> Holding {
        Holding {
            slots: (0..).take(devices.len()).collect(),
            devices: devices.iter().map(|id| DeviceId((*id).to_owned())).collect(),
        }
    }

    fn value(environment: &[String], name: &str) -> String {
        let values: Vec<_> = environment
            .iter()
            .filter_map(|entry| entry.split_once('='))
            .filter(|(found, _)| *found == name)
            .collect();
        assert_eq!(values.len(), 1, "{name}");
        values[0].1.to_owned()
    }

    #[tokio::test]
    async fn job_without_gpu_gets_none_whatever_the_runtime_is() {
        let grant = JobDevices::default()
            .take(
                &LeaseKey {
                    job: 1,
                    fingerprint: "f".into(),
                },
                1,
            )
            .await
            .unwrap();
        assert_eq!(grant.access, DeviceAccess::None);
        for name in [
            "NVIDIA_VISIBLE_DEVICES",
            "DOCKER_RESOURCE_GPU",
            "CUDA_VISIBLE_DEVICES",
            "AMD_VISIBLE_DEVICES",
        ] {
            assert_eq!(value(&grant.environment, name), "void");
        }
        assert_eq!(value(&grant.environment, "ROCR_VISIBLE_DEVICES"), "-1");
        assert_eq!(value(&grant.environment, "NVIDIA_MIG_CONFIG_DEVICES"), "");
    }

    #[test]
    fn variables_name_the_devices_of_the_job_only() {
        let two = holding(&["GPU-a", "GPU-b"]);
        let cdi = guard(&DeviceAccess::Cdi(Vec::new()), &two);
        assert_eq!(
            value(&cdi, "NVIDIA_VISIBLE_DEVICES"),
            "void",
            "the hook must not act"
        );
        assert_eq!(value(&cdi, "CUDA_VISIBLE_DEVICES"), "GPU-a,GPU-b");
        let hook = guard(&DeviceAccess::Nvidia(Vec::new()), &two);
        assert_eq!(value(&hook, "NVIDIA_VISIBLE_DEVICES"), "GPU-a,GPU-b");
        assert_eq!(value(&hook, "NVIDIA_DRIVER_CAPABILITIES"), "compute,utility");
        for name in HOOK_VARIABLES {
            value(&hook, name);
        }
        let amd = guard(
            &DeviceAccess::Nodes(Vec::new()),
            &holding(&["0000:03:00.0", "0000:04:00.0"]),
        );
        assert_eq!(value(&amd, "ROCR_VISIBLE_DEVICES"), "0,1");
        assert_eq!(value(&amd, "NVIDIA_VISIBLE_DEVICES"), "void");
    }

    #[test]
    fn engine_gets_the_form_that_it_knows() {
        let folder = tempfile::tempdir().unwrap();
        let folders = vec![folder.path().to_owned()];
        let uuids = || vec!["GPU-a".to_owned()];
        let access = |interface: &GpuInterface| nvidia_access(uuids(), interface, &folders);
        let requests = Ok(DeviceAccess::Nvidia(uuids()));
        assert_eq!(access(&GpuInterface::DockerRequests), requests);
        // Without a specification.
        assert_eq!(access(&GpuInterface::DockerCdi(folders.clone())), requests);
        let error = access(&GpuInterface::PodmanDevices).unwrap_err();
        assert!(
            error.contains("nvidia.com/gpu=GPU-a") && error.contains("nvidia-ctk"),
            "{error}"
        );
        let text = r#"{"kind":"nvidia.com/gpu","devices":[{"name":"GPU-a"}]}"#;
        fs::write(folder.path().join("nvidia.json"), text).unwrap();
        let cdi = Ok(DeviceAccess::Cdi(vec!["nvidia.com/gpu=GPU-a".into()]));
        assert_eq!(access(&GpuInterface::DockerCdi(folders.clone())), cdi);
        assert_eq!(access(&GpuInterface::PodmanDevices), cdi);
        assert_eq!(access(&GpuInterface::DockerRequests), requests);
    }
}
