#![allow(clippy::unwrap_used)]

use std::{fs, path::Path, process::Command};

use super::{super::inventory::tests::install_nvml, *};
use crate::{config::Gpus, files::Disk};

fn device() -> Device {
    Device {
        memory_mib: 1_000,
        ..Device::only_known_by(DeviceId("GPU-a".into()))
    }
}

fn answer(uuids: &[&str], memory_mib: u64, product: String) -> Answer {
    Answer {
        driver_version: "1".into(),
        devices: uuids
            .iter()
            .map(|uuid| SeenDevice {
                uuid: Some((*uuid).to_owned()),
                memory_mib,
            })
            .collect(),
        product_sha256: product,
    }
}

#[test]
fn product_is_that_of_another_program() {
    // Independent of the worker's own arithmetic.
    let program = "import hashlib\nn,s=16,9\nA=[[(s+31*i+17*j)%251 for j in range(n)] for i in range(n)]\n\
        B=[[(s+13*i+29*j)%241 for j in range(n)] for i in range(n)]\n\
        t=''.join(' '.join(str(sum(A[i][k]*B[k][j] for k in range(n))) for j in range(n))+'\\n' for i in range(n))\n\
        print(hashlib.sha256(t.encode()).hexdigest(),end='')";
    let Ok(output) = Command::new("python3").args(["-c", program]).output() else {
        println!("no python3: nothing is tested");
        return;
    };
    assert_eq!(String::from_utf8(output.stdout).unwrap(), product_hash(16, 9));
    // 32-bit floating-point numbers hold every sum.
    assert!(250 * 240 * u64::from(SIZE) < 1 << 24);
}

#[test]
fn every_way_to_fail_is_told() {
    let right = product_hash(SIZE, 7);
    let judged = |answer: &Answer| judge(0, &device(), 7, answer);
    let passed = judged(&answer(&["GPU-a"], 980, right.to_uppercase()));
    assert_eq!(passed.problem, None);
    assert!(passed.driver_visible && passed.memory_as_claimed && passed.matrix_product_right);
    for (answer, expected) in [
        (
            answer(&["GPU-a", "GPU-b"], 980, right.clone()),
            "sees [GPU-a, GPU-b]",
        ),
        (answer(&["GPU-b"], 980, right.clone()), "sees [GPU-b]"),
        (answer(&[], 980, right.clone()), "sees []"),
        (answer(&["GPU-a"], 899, right.clone()), "sees 899 MiB"),
        (answer(&["GPU-a"], 980, product_hash(SIZE, 8)), "product"),
    ] {
        let problem = judged(&answer).problem.unwrap();
        assert!(problem.contains(expected), "{problem}");
    }
}

fn config(gpus: bool, folder: &Path) -> Config {
    let gpus = if gpus {
        "  gpus:\n    - model: RTX_4090\n      count: 1\n"
    } else {
        ""
    };
    let text = format!(
        "version: \"3.2\"\nnode_settings:\n  node_name: n\n  reward_address: \
         \"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed\"\nshared_resources:\n  cpu_cores: 1\n  ram_gb: 1\n  storage_gb: 1\n\
         {gpus}network_config:\n  max_upload_mbps: 1\n  max_download_mbps: 1\nassay:\n  state_dir: {}\n",
        folder.display()
    );
    Config::parse(&text, &folder.join("worker.yaml")).unwrap()
}

#[tokio::test]
async fn machine_without_gpus_is_told_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = Vec::new();
    let arguments = SelfTestArguments {
        image: None,
        output: Output::Json,
    };
    let code = run(arguments, &config(false, folder.path()), &mut text)
        .await
        .unwrap();
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::FAILURE));
    let report: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(report["passed"], false);
    assert!(
        report["missing"][0]
            .as_str()
            .unwrap()
            .contains("shared_resources.gpus")
    );
}

/// Runs the test in a real Podman, with a specification that maps a harmless device, and a shell in place of
/// the image's own program. See `worker/tests/support/engines.rs` for the environment.
#[tokio::test]
async fn slot_is_tested_in_a_container_with_its_device() {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (Some(socket), Some(image)) = (variable("ASSAY_TEST_ENGINE_SOCKET"), variable("ASSAY_TEST_IMAGE"))
    else {
        println!("no engine: set ASSAY_TEST_ENGINE_SOCKET and ASSAY_TEST_IMAGE");
        return;
    };
    let engine = DockerEngine::new(EngineEndpoint::resolve(Some(&socket)));
    if engine.gpu_interface().await.unwrap() != crate::engine::GpuInterface::PodmanDevices {
        println!("no Podman: its specifications are elsewhere");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let paths = HostPaths::below(folder.path());
    install_nvml(&paths, 2, -1);
    let machine = Machine {
        slots: 2,
        gpus: Some(Gpus {
            model: "RTX_4090".into(),
            count: 2,
            allow_overclock: false,
        }),
        paths,
    };
    let state = folder.path().join("state");
    let ledger = DeviceLedger::open(&state, Disk::default(), machine);
    let ids: Vec<String> = ledger
        .view()
        .into_iter()
        .map(|slot| slot.device.unwrap().0)
        .collect();
    let specified: Vec<_> = ids
        .iter()
        .map(|id| {
            serde_json::json!({ "name": id, "containerEdits": { "env": [format!("SEEN={id}")],
                "deviceNodes": [{ "path": "/dev/test-gpu", "hostPath": "/dev/null", "type": "c", "major": 1, "minor": 3 }] } })
        })
        .collect();
    let specification = serde_json::json!({
        "cdiVersion": "0.5.0", "kind": super::super::CDI_GPU_KIND, "devices": specified,
    });
    fs::create_dir_all("/run/cdi").unwrap();
    let file = PathBuf::from(format!("/run/cdi/assay-self-test-{}.json", std::process::id()));
    fs::write(&file, specification.to_string()).unwrap();
    let script = r#"test -c /dev/test-gpu || exit 9
        sum=$(/bin/busybox awk -v n=$ASSAY_SELF_TEST_SIZE -v s=$ASSAY_SELF_TEST_SEED 'BEGIN {
            for (i = 0; i < n; i++) for (j = 0; j < n; j++) { a[i*n+j] = (s+31*i+17*j)%251; b[i*n+j] = (s+13*i+29*j)%241 }
            for (i = 0; i < n; i++) { for (j = 0; j < n; j++) { t = 0; for (k = 0; k < n; k++) t += a[i*n+k]*b[k*n+j]
                printf "%s%d", j ? " " : "", t } printf "\n" } }' | sha256sum)
        echo "{\"driver_version\":\"1\",\"devices\":[{\"uuid\":\"$SEEN\",\"memory_mib\":24000}],\"product_sha256\":\"${sum%% *}\"}""#;
    let test = SlotTest {
        engine,
        image: image.parse().unwrap(),
        command: ["/bin/busybox", "sh", "-c", script].map(str::to_owned).to_vec(),
        cdi: vec!["/run/cdi".into()],
        folder: folder.path().join("output"),
        config: config(true, folder.path()),
    };
    // The second slot is a job's.
    let key = crate::lease::LeaseKey {
        job: 1,
        fingerprint: "f".into(),
    };
    let taken = ledger.take(&key, 1).unwrap();
    let reports = test.all(&ledger).await.unwrap();
    fs::remove_file(&file).unwrap();
    assert_eq!(reports.len(), 2);
    let leased = &reports[usize::from(taken[0].slot)];
    assert!(leased.is_leased && leased.problem.is_some(), "{leased:?}");
    let tested = &reports[1 - usize::from(taken[0].slot)];
    assert_eq!(tested.problem, None, "{tested:?}");
    assert!(tested.matrix_product_right && tested.memory_as_claimed);
}
