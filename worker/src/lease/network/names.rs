//! The resolver of a job with an allow-list: it answers for the listed names and for no others.
//!
//! It listens on the host's address in the job's network. The worker resolves a listed name, checks its
//! addresses, opens the firewall for them, and only then answers the container. It forwards no question for
//! another name, so questions carry no data out of the machine: the container chooses only the time of a
//! query for a listed name, at most once in [`MIN_TTL`].

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::{
    net::UdpSocket,
    sync::{Mutex as AsyncMutex, Semaphore},
    time::Instant,
};

use super::{
    address,
    dns::{self, Answer, Code, MAX_MESSAGE_BYTES, Question},
    nft::Nft,
    rules::{self, MAX_PINS, Pin, TableNames},
};

/// Port of resolvers.
const PORT: u16 = 53;

/// Timeout of one question to a resolver.
const PATIENCE: Duration = Duration::from_secs(2);

/// Number of times that each resolver is asked.
const ATTEMPTS: usize = 2;

/// Bounds of the time for which an answer is cached and declared valid.
const MIN_TTL: Duration = Duration::from_secs(10);
const MAX_TTL: Duration = Duration::from_secs(300);

/// Time for which an address stays reachable after it was last in an answer: programs keep addresses for
/// longer than they should.
const PIN_TIME: Duration = Duration::from_secs(3_600);

/// Interval at which names are resolved without a question, so that addresses in use stay reachable.
const REFRESH: Duration = Duration::from_secs(900);

/// Maximum number of a job's questions under way.
const MAX_QUESTIONS: usize = 16;

/// Asks public resolvers for names.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    servers: Vec<SocketAddr>,
}

impl Resolver {
    pub(super) fn new(servers: &[Ipv4Addr]) -> Self {
        Self {
            servers: servers
                .iter()
                .map(|server| SocketAddr::from((*server, PORT)))
                .collect(),
        }
    }

    /// Returns a name's addresses; an answer of [`Code::Failed`] if no resolver knows.
    pub(super) async fn resolve(&self, name: &str) -> Answer {
        for server in self.servers.iter().cycle().take(self.servers.len() * ATTEMPTS) {
            match tokio::time::timeout(PATIENCE, ask(*server, name)).await {
                Ok(Ok(answer)) if answer.code != Code::Failed => return answer,
                Ok(Err(error)) => tracing::debug!(%server, %error, "asking a resolver failed"),
                Ok(Ok(_)) | Err(_) => (),
            }
        }
        Answer {
            code: Code::Failed,
            addresses: Vec::new(),
        }
    }
}

/// Asks one resolver. A new socket for each question has a port that forgers would have to guess as well.
async fn ask(server: SocketAddr, name: &str) -> io::Result<Answer> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(|error| io::Error::other(error.to_string()))?;
    let id = u16::from_be_bytes(id);
    let query = dns::write_query(id, name).ok_or_else(|| io::Error::other("no host name"))?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect(server).await?;
    socket.send(&query).await?;
    let mut message = vec![0; MAX_MESSAGE_BYTES];
    loop {
        let length = socket.recv(&mut message).await?;
        if let Some(answer) = dns::read_answer(&message[..length], id, name) {
            return Ok(answer);
        }
    }
}

/// Answer that is kept for a while.
#[derive(Clone, Debug)]
struct Kept {
    code: Code,
    addresses: Vec<Ipv4Addr>,
    until: Instant,
}

/// The allowed names of a job: each with its ports; `None` for all ports.
pub(super) type AllowedNames = BTreeMap<String, Vec<Option<u16>>>;

/// Resolver of one job.
#[derive(Debug)]
pub(super) struct NameService {
    allowed: AllowedNames,
    resolver: Resolver,
    nft: Nft,
    table: TableNames,
    bridge: String,
    kept: Mutex<HashMap<String, Kept>>,
    /// Addresses that the firewall lets through, until when. Held while the firewall is changed, so that
    /// changes come in order.
    pins: AsyncMutex<BTreeMap<(Ipv4Addr, Option<u16>), Instant>>,
}

impl NameService {
    pub(super) fn new(
        allowed: AllowedNames,
        resolver: Resolver,
        nft: Nft,
        table: TableNames,
        bridge: String,
    ) -> Self {
        Self {
            allowed,
            resolver,
            nft,
            table,
            bridge,
            kept: Mutex::default(),
            pins: AsyncMutex::default(),
        }
    }

    /// Opens the socket. The host's address need not exist yet: some engines make the bridge with the
    /// container.
    pub(super) fn listen(gateway: Ipv4Addr) -> io::Result<UdpSocket> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
        sockopt::set_ip_freebind(&socket, true)?;
        rustix::net::bind(&socket, &SocketAddrV4::new(gateway, PORT))?;
        UdpSocket::from_std(socket.into())
    }

    /// Answers questions, and resolves the names from time to time, until the future is dropped.
    pub(super) async fn serve(self: Arc<Self>, socket: UdpSocket) {
        let questions = {
            let service = self.clone();
            async move { service.answer_questions(Arc::new(socket)).await }
        };
        let refreshes = async {
            loop {
                for name in self.allowed.keys() {
                    self.look_up(name).await;
                }
                tokio::time::sleep(REFRESH).await;
            }
        };
        tokio::join!(questions, refreshes);
    }

    async fn answer_questions(self: Arc<Self>, socket: Arc<UdpSocket>) {
        let seats = Arc::new(Semaphore::new(MAX_QUESTIONS));
        let mut tasks = tokio::task::JoinSet::new();
        let mut message = vec![0; MAX_MESSAGE_BYTES];
        loop {
            let (length, client) = match socket.recv_from(&mut message).await {
                Ok(received) => received,
                // An error of an earlier answer, such as a container that is gone.
                Err(error) => {
                    tracing::debug!(%error, "receiving a job's question failed");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            while tasks.try_join_next().is_some() {}
            let Some(question) = dns::read_question(&message[..length]) else {
                continue;
            };
            // Clients ask again.
            let Ok(seat) = seats.clone().try_acquire_owned() else {
                continue;
            };
            let (service, socket) = (self.clone(), socket.clone());
            tasks.spawn(async move {
                let answer = service.answer(&question).await;
                if let Err(error) = socket.send_to(&answer, client).await {
                    tracing::debug!(%error, "answering a job's question failed");
                }
                drop(seat);
            });
        }
    }

    async fn answer(&self, question: &Question) -> Vec<u8> {
        if question.class != dns::CLASS_IN {
            return dns::write_answer(question, Code::Refused, &[], 0);
        }
        if !self.allowed.contains_key(&question.name) {
            return dns::write_answer(question, Code::NoName, &[], 0);
        }
        if question.kind != dns::TYPE_A {
            return dns::write_answer(question, Code::Found, &[], 0);
        }
        let kept = self.look_up(&question.name).await;
        let left = kept.until.saturating_duration_since(Instant::now());
        let ttl = u32::try_from(left.as_secs()).unwrap_or_default();
        dns::write_answer(question, kept.code, &kept.addresses, ttl)
    }

    /// Returns a listed name's addresses, which the firewall then lets through.
    async fn look_up(&self, name: &str) -> Kept {
        if let Some(kept) = self.kept_answer(name) {
            return kept;
        }
        let answer = self.resolver.resolve(name).await;
        let ttl = answer
            .addresses
            .iter()
            .map(|(_, ttl)| u64::from(*ttl))
            .min()
            .unwrap_or(0);
        let (addresses, others): (Vec<_>, Vec<_>) = answer
            .addresses
            .iter()
            .map(|(address, _)| *address)
            .partition(|address| address::is_reachable(*address));
        if let Some(other) = others.first() {
            tracing::warn!(name, address = %other, "a listed name leads to an address that no job may reach");
        }
        let mut kept = Kept {
            code: answer.code,
            addresses,
            until: Instant::now() + Duration::from_secs(ttl).clamp(MIN_TTL, MAX_TTL),
        };
        if let Err(error) = self.pin(name, &kept.addresses).await {
            tracing::warn!(name, %error, "letting a job through to a listed name failed");
            kept.code = Code::Failed;
            kept.addresses.clear();
        }
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(name.to_owned(), kept.clone());
        kept
    }

    fn kept_answer(&self, name: &str) -> Option<Kept> {
        let all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(name).filter(|kept| kept.until > Instant::now()).cloned()
    }

    async fn pin(&self, name: &str, addresses: &[Ipv4Addr]) -> Result<(), super::nft::NftError> {
        if addresses.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        let mut pins = self.pins.lock().await;
        for port in self.allowed.get(name).into_iter().flatten() {
            for address in addresses {
                pins.insert((*address, *port), now + PIN_TIME);
            }
        }
        pins.retain(|_, until| *until > now);
        while pins.len() > MAX_PINS {
            let oldest = pins.iter().min_by_key(|(_, until)| **until).map(|(pin, _)| *pin);
            oldest.map(|oldest| pins.remove(&oldest));
        }
        let commands = rules::pins(&self.table, &self.bridge, &present(&pins, now));
        self.nft.apply(&commands).await
    }

    /// Returns the commands that let the addresses through again, after the firewall lost its rules.
    pub(super) async fn pins_again(&self) -> String {
        let pins = self.pins.lock().await;
        rules::pins(&self.table, &self.bridge, &present(&pins, Instant::now()))
    }
}

fn present(pins: &BTreeMap<(Ipv4Addr, Option<u16>), Instant>, now: Instant) -> Vec<Pin> {
    pins.iter()
        .map(|((address, port), until)| Pin {
            address: *address,
            port: *port,
            left: until.saturating_duration_since(now),
        })
        .filter(|pin| !pin.left.is_zero())
        .collect()
}
