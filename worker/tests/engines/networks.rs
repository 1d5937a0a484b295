//! The jobs' networks against a real engine, with listeners in a network namespace of the test's own.
//!
//! The stories need root, `ip` and `nft` besides; without, they print so and do nothing. All addresses
//! lie on interfaces that the tests make, public ones too, so nothing leaves the machine. Each test that
//! finds something closed opens it afterwards by removing the rules, which shows that it was the rules
//! that closed it.

use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use assay_client::manifest::{ImageReference, JobManifest};
use assay_worker::{
    config::{JobNetworkSettings, SlotShare},
    engine::{
        BindMount, ContainerEngine, ContainerIdentity, ContainerSpec, DockerEngine, ImageRoot, NetworkSpec,
    },
    files::Disk,
    lease::{JobNetworkParts, JobNetworks, LeaseKey, LeaseRequest, Leases},
    logs::beginnings,
};

use crate::{
    actor::{self, HostServer, loader},
    support::{Offers, SocketSubject, leased, target},
};

/// Port of all listeners.
const PORT: u16 = 7_777;

/// Rate of one slot in the tests: 40 Mbit/s.
const RATE: u64 = 5_000_000;

const SHARE: SlotShare = SlotShare {
    memory_mib: 256,
    cpu_millis: 1_000,
    processes: 64,
};

/// Returns what a job has written to standard output so far.
fn kept(job: &Job) -> String {
    let kept = beginnings(&job.output).unwrap().unwrap_or_default();
    String::from_utf8_lossy(&kept.0).into_owned()
}

/// Runs a command to its end; returns its output.
fn sh(line: &str) -> Result<String, String> {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{line}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// A network namespace with listeners: neighbours of the host, and the Internet.
struct World {
    name: String,
    server: Option<Child>,
    /// Address of the host towards the namespace.
    host: Ipv4Addr,
    /// Address of a neighbour in a private network.
    private: Ipv4Addr,
    /// Three public addresses: listed, not listed, and that of a resolver.
    public: [Ipv4Addr; 3],
}

impl World {
    /// Special addresses that the namespace has as well.
    const SPECIAL: [&str; 5] = [
        "169.254.169.254",
        "168.63.129.16",
        "100.64.7.7",
        "198.18.7.7",
        "192.0.2.77",
    ];

    fn make() -> Self {
        let pid = std::process::id();
        let [_, _, high, low] = pid.to_be_bytes();
        let name = format!("assaynet{pid}");
        let public = [0, 1, 2].map(|last| Ipv4Addr::new(44, 128 + (high & 63), low, 10 + last));
        let mut world = Self {
            name: name.clone(),
            server: None,
            host: Ipv4Addr::new(10, 99, low, 1),
            private: Ipv4Addr::new(10, 99, low, 2),
            public,
        };
        let outer = format!("as{pid}");
        sh(&format!(
            "ip netns add {name} && ip link add {outer} type veth peer name inner netns {name} && \
             ip addr add {}/30 dev {outer} && ip link set {outer} up && ip -n {name} addr add {}/30 dev inner && \
             ip -n {name} link set lo up && ip -n {name} link set inner up && ip -n {name} route add default via {}",
            world.host, world.private, world.host
        ))
        .unwrap();
        let special = Self::SPECIAL.iter().map(ToString::to_string);
        for address in special.chain(public.iter().map(ToString::to_string)) {
            sh(&format!(
                "ip -n {name} addr add {address}/32 dev inner && ip route replace {address}/32 via {} dev {outer}",
                world.private
            ))
            .unwrap();
            let route = sh(&format!("ip route get {address}")).unwrap();
            assert!(
                route.contains(&outer),
                "{address} must not leave this machine: {route}"
            );
        }
        // A resolver listens on port 53 of the third public address.
        let orders = format!("serve {PORT}");
        world.server = Some(world.serve_inside(&orders));
        world
    }

    fn serve_inside(&self, orders: &str) -> Child {
        let special = Self::SPECIAL.iter().map(ToString::to_string);
        let own: Vec<_> = special
            .chain(self.public.iter().map(ToString::to_string))
            .chain([self.private.to_string()])
            .collect();
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.name])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "actor_in_a_container", "--ignored", "--nocapture"])
            .env(actor::ORDERS, orders)
            .env("ASSAY_TEST_ADDRESS", self.public[0].to_string())
            .env(actor::OWN_ADDRESSES, own.join(","))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        actor::await_serving(&mut child);
        child
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
        let _ = sh(&format!("ip netns del {}", self.name));
    }
}

/// A worker's leases, with an engine and a world.
struct Fixture {
    world: World,
    engine: DockerEngine,
    image: ImageReference,
    networks: JobNetworks,
    leases: Leases,
    worker: String,
    folder: tempfile::TempDir,
    _alone: File,
}

/// Container of a job.
struct Job {
    key: LeaseKey,
    id: String,
    output: PathBuf,
}

/// Tells a story about an engine, if it is there and the host can fence off networks.
fn with_network<F: Future<Output = ()>>(place: impl Offers<SocketSubject>, story: impl FnOnce(Fixture) -> F) {
    let Some(subject) = place.find() else {
        return;
    };
    if let Err(reason) = sh("test $(id -u) = 0 && ip -V && nft --version && unshare --net true") {
        println!("not root, or a program is missing: {reason}");
        return;
    }
    // Addresses of the tests exist once on a machine, and transfers are measured.
    let alone = File::create(std::env::temp_dir().join("assay-network-test.lock")).unwrap();
    alone.lock().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = World::make();
        let folder = tempfile::tempdir().unwrap();
        let worker = hex::encode(blake3::hash(&std::process::id().to_le_bytes()).as_bytes());
        let engine = subject.docker.clone();
        let networks = networks(&engine, &world, &folder, &worker);
        let fixture = Fixture {
            leases: Leases::default().with_networks(networks.clone()),
            networks,
            world,
            engine,
            image: subject.image.clone(),
            worker,
            folder,
            _alone: alone,
        };
        tokio::time::timeout(Duration::from_secs(400), story(fixture))
            .await
            .expect("the test takes too long");
    });
}

stories! {
    with: with_network;
    not_at_kubernetes:
        job_with_the_network_reaches_public_addresses_and_nothing_else
            because "a cluster's network plugin enforces policies, and that of the tests does not",
        allow_list_opens_its_destinations_alone
            because "a cluster's network plugin enforces policies, and that of the tests does not",
        published_ports_are_reached_and_nothing_behind_them
            because "a cluster's proxy forwards ports of nodes, and that of the tests has none; kubernetes.rs sees the Service",
        transfers_keep_to_the_slots_share
            because "a cluster's network plugin limits traffic, and that of the tests does not",
        leftovers_are_removed_and_a_bridge_without_rules_is_shut
            because "the worker makes neither networks nor bridges for pods",
    ;
}

fn networks(engine: &DockerEngine, world: &World, folder: &tempfile::TempDir, worker: &str) -> JobNetworks {
    let [_, _, _, low] = std::process::id().to_be_bytes();
    JobNetworks::open(JobNetworkParts {
        engine: engine.clone(),
        settings: JobNetworkSettings {
            port_range: Some(31_000..=31_009),
            job_subnets: format!("10.{}.0.0/16", 110 + low % 100).parse().unwrap(),
            dns_servers: vec![world.public[2]],
        },
        listen_address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        upload_per_slot: RATE,
        download_per_slot: RATE,
        worker: worker.to_owned(),
        folder: folder.path().to_owned(),
        disk: Disk::default(),
    })
    .unwrap()
}

impl Fixture {
    fn manifest(&self, more: &str) -> JobManifest {
        let text = format!(r#"{{"image":"{}"{more}}}"#, self.image.pull_reference());
        JobManifest::from_bytes(text.as_bytes()).unwrap()
    }

    fn key(&self, job: u64) -> LeaseKey {
        LeaseKey {
            job,
            fingerprint: format!("{:0>32}", std::process::id()),
        }
    }

    fn table(&self) -> String {
        format!("assay_{}", &self.worker[..6])
    }

    /// Takes the lease of a job, as the supervisor does, and starts its container with orders.
    async fn start(&self, job: u64, wishes: &str, orders: &str) -> Job {
        let manifest = self.manifest(wishes);
        let key = self.key(job);
        let request = LeaseRequest {
            key: key.clone(),
            slots: 1,
            share: SHARE,
            manifest: &manifest,
            image: &ImageRoot::default(),
        };
        let lease = self.leases.take(&request).await.unwrap();
        let (loader, libraries) = loader();
        let read_only = |source: PathBuf, target: &str| BindMount {
            source,
            target: target.to_owned(),
            is_read_only: true,
        };
        let identity = ContainerIdentity {
            job,
            machine: 0,
            worker: self.worker.clone(),
            fingerprint: key.fingerprint.clone(),
        };
        let leased = leased(identity, &self.image.pull_reference(), &manifest, SHARE, lease);
        let spec = ContainerSpec {
            command: [
                &format!("/libraries/{loader}"),
                "--library-path",
                "/libraries",
                "/actor",
                "--exact",
                "actor_in_a_container",
                "--ignored",
                "--nocapture",
            ]
            .map(str::to_owned)
            .to_vec(),
            environment: vec![format!("{}={orders}", actor::ORDERS)],
            shm_mib: 16,
            mounts: vec![
                read_only(libraries, "/libraries"),
                read_only(std::env::current_exe().unwrap(), "/actor"),
            ],
            ..leased
        };
        self.engine
            .pull(&spec.image, self.image.digest(), None)
            .await
            .unwrap();
        let id = self.engine.create(&spec).await.unwrap();
        assert!(self.leases.ensure(&key).await.unwrap());
        let folder = self.folder.path().join(format!("output-{job}-{id}"));
        self.engine.start(&id, target(folder.clone())).await.unwrap();
        Job {
            key,
            id,
            output: folder,
        }
    }

    /// Runs orders in a container to their end; returns their outcomes.
    async fn run(&self, job: u64, wishes: &str, orders: &[String]) -> Vec<Result<String, String>> {
        let started = self.start(job, wishes, &orders.join(";")).await;
        self.engine.run_end(&started.id).await;
        let outcomes = outcomes(&started);
        self.engine.remove(&started.id).await.unwrap();
        assert_eq!(outcomes.len(), orders.len(), "{outcomes:?}");
        outcomes
    }

    async fn end(&self, job: &Job) {
        self.engine.remove(&job.id).await.unwrap();
        self.leases.release(&job.key).await.unwrap();
    }

    /// Waits until the container serves.
    async fn serving(&self, job: &Job) {
        let begun = Instant::now();
        while !kept(job).contains("ACTOR serving") {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "the container does not serve"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn assert_nothing_is_left(&self) {
        assert_eq!(self.engine.networks(&self.worker).await.unwrap(), []);
        assert!(sh(&format!("nft list table inet {}", self.table())).is_err());
        assert!(
            !sh("ip -o link")
                .unwrap()
                .contains(&format!("asy{}", &self.worker[..6]))
        );
    }
}

fn outcomes(job: &Job) -> Vec<Result<String, String>> {
    actor::outcomes(&kept(job))
}

/// Runs orders in the host's own network, in this process's place.
fn on_host(orders: &[String]) -> Vec<bool> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "actor_in_a_container", "--ignored", "--nocapture"])
        .env(actor::ORDERS, orders.join(";"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found: Vec<_> = actor::outcomes(&text).iter().map(Result::is_ok).collect();
    assert_eq!(found.len(), orders.len(), "{text}");
    found
}

/// Returns the addresses of all of the host's interfaces, but for those that hold on one link only.
fn host_addresses() -> Vec<String> {
    let text = sh("ip -o addr").unwrap();
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter_map(|words| {
            let address = words[3].split('/').next()?;
            match words[2] {
                "inet" => Some(address.to_owned()),
                _ if address.starts_with("fe80") => None,
                _ => Some(format!("[{address}]")),
            }
        })
        .collect()
}

const ON: &str = r#","network":true"#;

/// Address that the test gives a job's bridge on its link, besides the one that the kernel draws.
const LINK_LOCAL: &str = "fe80::7777";

/// Runs orders in the second job's container, whose bridge has [`LINK_LOCAL`]; without rules if these are
/// removed.
async fn run_beside_bridge(
    fixture: &Fixture,
    orders: &[String],
    removes_rules: bool,
) -> Vec<Result<String, String>> {
    let all = [vec!["sleep 3".to_owned()], orders.to_vec()].concat();
    let job = fixture.start(2, ON, &all.join(";")).await;
    let bridge = format!("asy{}1", &fixture.worker[..6]);
    if let Err(error) = sh(&format!("ip addr add {LINK_LOCAL}/64 dev {bridge} nodad")) {
        println!("the host has no IPv6: {error}");
    }
    if removes_rules {
        sh(&format!("nft delete table inet {}", fixture.table())).unwrap();
    }
    fixture.engine.run_end(&job.id).await;
    let mut found = outcomes(&job);
    fixture.engine.remove(&job.id).await.unwrap();
    assert_eq!(found.len(), all.len(), "{found:?}");
    found.remove(0).unwrap();
    found
}

async fn job_with_the_network_reaches_public_addresses_and_nothing_else(fixture: Fixture) {
    let _host = HostServer::start(PORT);
    // A neighbour that listens, also on published ports.
    let wishes = format!(r#"{ON},"ports":[{{"port":{PORT}}},{{"port":{PORT},"protocol":"udp"}}]"#);
    let neighbour = fixture.start(1, &wishes, &format!("serve {PORT}")).await;
    fixture.serving(&neighbour).await;
    // The bridge exists with its container only, so the host's addresses are read while one runs.
    let waiting = fixture.start(2, ON, "sleep 60").await;
    let host_addresses = host_addresses();
    fixture.engine.remove(&waiting.id).await.unwrap();
    let world = &fixture.world;
    let target = |address: &str| [format!("tcp {address}:{PORT}"), format!("udp {address}:{PORT}")];
    let gateway = container_address(&fixture, 2, 1);
    assert!(
        host_addresses.contains(&world.host.to_string()),
        "{host_addresses:?}"
    );
    assert!(host_addresses.contains(&gateway), "{host_addresses:?}");
    let neighbours = [
        target(&container_address(&fixture, 1, 2)).to_vec(),
        vec![
            format!("tcp {}:31000", world.host),
            format!("udp {}:31000", world.host),
        ],
        target(&world.private.to_string()).to_vec(),
        World::SPECIAL
            .iter()
            .flat_map(|address| target(address))
            .collect(),
    ]
    .concat();
    // They live.
    let found = on_host(&neighbours);
    assert!(found.iter().all(|reached| *reached), "{neighbours:?}: {found:?}");
    let closed = [
        host_addresses
            .iter()
            .flat_map(|address| target(address))
            .collect(),
        target(&format!("[{LINK_LOCAL}%eth0]")).to_vec(),
        neighbours,
        vec![
            format!("udp 239.1.2.3:{PORT}"),
            format!("udp [ff02::1%eth0]:{PORT}"),
            format!("udp 255.255.255.255:{PORT}"),
        ],
    ]
    .concat();
    let open: Vec<_> = world
        .public
        .iter()
        .flat_map(|address| target(&address.to_string()))
        .collect();

    let orders = [closed.clone(), open.clone()].concat();
    let found = run_beside_bridge(&fixture, &orders, false).await;
    for (order, outcome) in closed.iter().zip(&found) {
        assert!(outcome.is_err(), "{order} reached {outcome:?}");
    }
    for (order, outcome) in open.iter().zip(&found[closed.len()..]) {
        assert!(outcome.is_ok(), "{order}: {outcome:?}");
    }

    // Without the rules the same container reaches most of it: they are what closed it.
    let found = run_beside_bridge(&fixture, &closed, true).await;
    let opened: Vec<_> = closed
        .iter()
        .zip(&found)
        .filter(|(_, outcome)| outcome.is_ok())
        .collect();
    println!(
        "without rules {} of {} are reached: {opened:?}",
        opened.len(),
        closed.len()
    );
    let mut expected: Vec<_> = [world.host, world.private]
        .iter()
        .flat_map(|address| target(&address.to_string()))
        .collect();
    expected.extend(target("169.254.169.254"));
    if fixture.engine.ping().await.unwrap().version.starts_with("Podman") {
        // Docker keeps its networks apart by itself, and switches IPv6 off in those that have none.
        expected.extend(target(&container_address(&fixture, 1, 2)));
        if sh("ip -6 addr show lo").is_ok_and(|text| text.contains("::1")) {
            expected.push(format!("tcp [{LINK_LOCAL}%eth0]:{PORT}"));
        }
    }
    for order in expected {
        assert!(
            opened.iter().any(|(opened, _)| **opened == order),
            "{order}: {found:?}"
        );
    }

    // The next start sets them again.
    let found = run_beside_bridge(&fixture, &closed, false).await;
    assert!(found.iter().all(Result::is_err), "{found:?}");
    fixture.leases.release(&fixture.key(2)).await.unwrap();
    fixture.end(&neighbour).await;
    fixture.assert_nothing_is_left().await;
}

/// Returns an address of a job's network: the host's is the first, and the container's the second.
fn container_address(fixture: &Fixture, job: u64, number: u32) -> String {
    let file = std::fs::read(fixture.folder.path().join("networks.json")).unwrap();
    let file: serde_json::Value = serde_json::from_slice(&file).unwrap();
    let networks = file["networks"].as_array().unwrap();
    let network = networks.iter().find(|network| network["job"] == job).unwrap();
    let subnet = network["subnet"].as_str().unwrap().replace("/30", "");
    let address: Ipv4Addr = subnet.parse().unwrap();
    Ipv4Addr::from_bits(address.to_bits() + number).to_string()
}

async fn allow_list_opens_its_destinations_alone(fixture: Fixture) {
    let world = &fixture.world;
    let [listed, other, server] = world.public;
    let mut resolver = ResolverServer::start(world);
    let wishes = format!(
        r#","network":{{"allow":["{listed}:{PORT}","named.example:{PORT}","private.example","10.0.0.0/7"]}}"#
    );
    // The name leads to the listed address as well, so its own rule is tried with another list.
    let orders = [
        format!("tcp {listed}:{PORT}"),
        format!("udp {listed}:{PORT}"),
        format!("tcp {other}:{PORT}"),
        format!("tcp {}:{PORT}", world.private),
        format!("udp {server}:53"),
        "resolve named.example".to_owned(),
        "resolve other.example".to_owned(),
        "resolve secret.named.example".to_owned(),
        "resolve private.example".to_owned(),
    ];
    let found = fixture.run(3, &wishes, &orders).await;
    let reached: Vec<_> = found.iter().map(Result::is_ok).collect();
    assert_eq!(
        reached,
        [true, true, false, false, false, true, false, false, false],
        "{found:?}"
    );
    assert_eq!(found[5].as_deref(), Ok(listed.to_string().as_str()));
    fixture.leases.release(&fixture.key(3)).await.unwrap();

    // By name alone: its address is closed until it was asked for.
    let wishes = format!(r#","network":{{"allow":["named.example:{PORT}"]}}"#);
    let orders = [
        format!("connect named.example:{PORT}"),
        format!("tcp {listed}:{PORT}"),
        format!("tcp {listed}:{}", PORT + 1),
        format!("tcp {other}:{PORT}"),
    ];
    let found = fixture.run(4, &wishes, &orders).await;
    let reached: Vec<_> = found.iter().map(Result::is_ok).collect();
    assert_eq!(reached, [true, true, false, false], "{found:?}");
    // What was pinned is pinned again after the rules were lost.
    sh(&format!("nft delete table inet {}", fixture.table())).unwrap();
    let found = fixture.run(4, &wishes, &orders[1..]).await;
    let reached: Vec<_> = found.iter().map(Result::is_ok).collect();
    assert_eq!(reached, [true, false, false], "{found:?}");
    fixture.leases.release(&fixture.key(4)).await.unwrap();
    resolver.stop();
    fixture.assert_nothing_is_left().await;
}

/// The resolver that the worker asks, in the world.
struct ResolverServer(Child);

impl ResolverServer {
    fn start(world: &World) -> Self {
        Self(world.serve_inside("serve 53"))
    }

    fn stop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for ResolverServer {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn published_ports_are_reached_and_nothing_behind_them(fixture: Fixture) {
    let world = &fixture.world;
    let wishes = format!(
        r#","ports":[{{"port":{PORT}}},{{"port":{PORT},"protocol":"udp"}},{{"port":8080,"protocol":"http","name":"web"}}]"#
    );
    let orders = format!(
        "tcp {}:{PORT};tcp {}:{PORT};serve {PORT}",
        world.public[0], world.private
    );
    let job = fixture.start(5, &wishes, &orders).await;
    fixture.serving(&job).await;
    // Without a network it begins no connection,
    assert!(
        outcomes(&job).iter().take(2).all(Result::is_err),
        "{:?}",
        outcomes(&job)
    );
    // and answers on its ports: to the host, and to the host's neighbours.
    let host = world.host;
    let ports = fixture.networks.ports(&job.key);
    let numbers: Vec<_> = ports.iter().map(|port| port.host_port).collect();
    assert_eq!(numbers, [Some(31_000), Some(31_000), None]);
    assert_eq!(ports[2].path.as_deref(), Some("/v1/jobs/5/ports/web/"));
    let orders = [format!("tcp {host}:31000"), format!("udp {host}:31000")];
    assert_eq!(on_host(&orders), [true, true]);
    assert_eq!(inside(world, &orders), [true, true]);
    // A neighbour with a route into the job's network reaches no port that is not published, nor this one
    // directly.
    let container = container_address(&fixture, 5, 2);
    sh(&format!(
        "ip -n {} route add {container}/32 via {host}",
        world.name
    ))
    .unwrap();
    let direct = [format!("tcp {container}:{PORT}"), format!("tcp {container}:8080")];
    assert_eq!(inside(world, &direct), [false, false]);
    // The worker's own proxy does.
    let target = fixture.networks.http_target(5, "web").unwrap();
    assert_eq!(target.address.to_string(), format!("{container}:8080"));
    assert_eq!(on_host(&direct[..1]), [true]);

    // A worker that begins anew finds the same ports, and must be told the manifest before it vouches for
    // the rules.
    let again = networks(&fixture.engine, world, &fixture.folder, &fixture.worker);
    assert_eq!(again.ports(&job.key), ports);
    let leases = Leases::default().with_networks(again);
    assert!(!leases.ensure(&job.key).await.unwrap());
    let manifest = fixture.manifest(&wishes);
    let request = LeaseRequest {
        key: job.key.clone(),
        slots: 1,
        share: SHARE,
        manifest: &manifest,
        image: &ImageRoot::default(),
    };
    leases.take(&request).await.unwrap();
    assert!(leases.ensure(&job.key).await.unwrap());
    assert_eq!(inside(world, &orders), [true, true]);
    fixture.end(&job).await;
    fixture.assert_nothing_is_left().await;
}

/// Runs orders in the world; returns which of them succeeded.
fn inside(world: &World, orders: &[String]) -> Vec<bool> {
    let output = Command::new("ip")
        .args(["netns", "exec", &world.name])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "actor_in_a_container", "--ignored", "--nocapture"])
        .env(actor::ORDERS, orders.join(";"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    actor::outcomes(&text).iter().map(Result::is_ok).collect()
}

async fn transfers_keep_to_the_slots_share(fixture: Fixture) {
    let server = format!("{}:{PORT}", fixture.world.public[0]);
    let orders = [format!("down {server} 8"), format!("up {server} 8")];
    let found = fixture.run(6, ON, &orders).await;
    for (order, rate) in orders.iter().zip(&found) {
        let rate: f64 = rate.as_ref().unwrap().parse().unwrap();
        let share = rate / RATE as f64;
        println!("{order}: {rate} bytes per second, {share:.2} of the limit");
        assert!((0.8..1.2).contains(&share), "{order}: {share}");
    }
    fixture.leases.release(&fixture.key(6)).await.unwrap();
    fixture.assert_nothing_is_left().await;
}

async fn leftovers_are_removed_and_a_bridge_without_rules_is_shut(fixture: Fixture) {
    // A network that no ledger has, as after a crash.
    let job = fixture.start(7, ON, "sleep 100").await;
    let spec = NetworkSpec {
        name: format!("assay-{}-net-8-left", &fixture.worker[..12]),
        bridge: format!("asy{}3ffff", &fixture.worker[..6]),
        subnet: "10.98.77.0/30".parse().unwrap(),
        gateway: "10.98.77.1".parse().unwrap(),
        worker: fixture.worker.clone(),
        job: 8,
        fingerprint: "left".into(),
    };
    fixture.engine.create_network(&spec).await.unwrap();
    assert_eq!(fixture.engine.networks(&fixture.worker).await.unwrap().len(), 2);
    let keeper = tokio::spawn({
        let networks = fixture.networks.clone();
        async move { networks.keep().await }
    });
    let begun = Instant::now();
    while fixture.engine.networks(&fixture.worker).await.unwrap().len() > 1 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the leftover stays");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The keeper sets rules again that somebody removed.
    let table = format!("nft list table inet {}", fixture.table());
    let rules = sh(&table).unwrap();
    sh(&format!("nft delete table inet {}", fixture.table())).unwrap();
    while sh(&table).ok().as_ref() != Some(&rules) {
        assert!(
            begun.elapsed() < Duration::from_secs(40),
            "the rules are not set again"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    keeper.abort();
    // An interface with the worker's name that no job has is shut in both directions.
    let bridge = format!("asy{}ffff", &fixture.worker[..6]);
    sh(&format!(
        "ip link add {bridge} type bridge && ip addr add 10.98.78.1/30 dev {bridge} && ip link set {bridge} up && \
         ip link add asx{0} type veth peer name eth0 netns {1} && ip link set asx{0} master {bridge} up && \
         ip -n {1} addr add 10.98.78.2/30 dev eth0 && ip -n {1} link set eth0 up",
        std::process::id(),
        fixture.world.name
    ))
    .unwrap();
    let _host = HostServer::start(PORT);
    let orders = [format!("tcp 10.98.78.1:{PORT}"), format!("udp 10.98.78.1:{PORT}")];
    assert_eq!(inside(&fixture.world, &orders), [false, false]);
    sh(&format!("nft delete table inet {}", fixture.table())).unwrap();
    assert_eq!(inside(&fixture.world, &orders), [true, true]);
    sh(&format!("ip link del {bridge}")).unwrap();
    fixture.end(&job).await;
    fixture.assert_nothing_is_left().await;
}
