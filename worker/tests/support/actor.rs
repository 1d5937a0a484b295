//! The client or server inside of a container or a network namespace: this test program itself, told by a
//! variable. The image of the tests has no program that speaks UDP or IPv6.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Variable with the orders, separated by `;`.
pub(crate) const ORDERS: &str = "ASSAY_TEST_ACTOR";

/// Environment variable with the addresses at which a server answers datagrams; all addresses without it.
pub(crate) const OWN_ADDRESSES: &str = "ASSAY_TEST_OWN_ADDRESSES";

/// Timeout of one attempt.
const PATIENCE: Duration = Duration::from_secs(2);

/// Time at the beginning of a transfer that is not measured: the firewall's limit lets one second's worth
/// pass at once.
const WARM_UP: Duration = Duration::from_secs(2);

/// Maximum number of attempts at once: a container has few threads.
const ATTEMPTS_AT_ONCE: usize = 8;

/// Carries out the orders; each prints a line with its number and its outcome. Attempts that follow each
/// other are made some at once, since most of them are to fail, and do so by a timeout.
pub(crate) fn act() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let mut attempts = Vec::new();
    for (number, order) in orders.split(';').enumerate() {
        let is_attempt = ["tcp ", "udp ", "resolve "]
            .iter()
            .any(|kind| order.starts_with(kind));
        if attempts.len() >= ATTEMPTS_AT_ONCE || !is_attempt {
            join(&mut attempts);
        }
        if is_attempt {
            let order = order.to_owned();
            attempts.push(thread::spawn(move || carry_out(number, &order)));
        } else {
            carry_out(number, order);
        }
    }
    join(&mut attempts);
}

/// Returns the outcomes in what an actor has written, in the order of the orders.
pub(crate) fn outcomes(text: &str) -> Vec<Result<String, String>> {
    let mut outcomes: Vec<(usize, _)> = text
        .lines()
        .filter_map(|line| {
            let (number, outcome) = line.strip_prefix("ACTOR ")?.split_once(' ')?;
            let outcome = match outcome.split_once(' ')? {
                ("ok", text) => Ok(text.to_owned()),
                ("failed", text) => Err(text.to_owned()),
                _ => return None,
            };
            Some((number.parse().ok()?, outcome))
        })
        .collect();
    outcomes.sort_by_key(|(number, _)| *number);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn join(attempts: &mut Vec<thread::JoinHandle<()>>) {
    for attempt in attempts.drain(..) {
        attempt.join().unwrap();
    }
}

fn carry_out(number: usize, order: &str) {
    let words: Vec<_> = order.split_whitespace().collect();
    let outcome = match words[..] {
        ["tcp", address] => tcp(address),
        ["udp", address] => udp(address),
        ["resolve", name] => resolve(name),
        ["connect", name] => connect(name),
        ["down", address, seconds] => down(address, seconds.parse().unwrap()),
        ["up", address, seconds] => up(address, seconds.parse().unwrap()),
        ["serve", port] => serve(port.parse().unwrap()),
        ["sleep", seconds] => {
            thread::sleep(Duration::from_secs(seconds.parse().unwrap()));
            Ok("slept".into())
        }
        _ => panic!("{order}"),
    };
    match outcome {
        Ok(text) => println!("\nACTOR {number} ok {text}"),
        Err(error) => println!("\nACTOR {number} failed {error}"),
    }
}

/// Reads an address; `%eth0` in it stands for the number of the container's interface.
fn address(text: &str) -> SocketAddr {
    let number = std::fs::read_to_string("/sys/class/net/eth0/ifindex").unwrap_or_default();
    text.replace("%eth0", &format!("%{}", number.trim()))
        .parse()
        .unwrap()
}

fn dial(at: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

fn tcp(text: &str) -> std::io::Result<String> {
    let mut banner = [0; 5];
    let mut stream = dial(address(text))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.read_exact(&mut banner)?;
    Ok(String::from_utf8_lossy(&banner).into_owned())
}

fn udp(text: &str) -> std::io::Result<String> {
    let at = address(text);
    let own: SocketAddr = if at.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().unwrap();
    let socket = UdpSocket::bind(own)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    // Errors of the network come with the next call; the first packet may wait for the neighbour's address.
    let mut answer = [0; 16];
    for _ in 0..2 {
        socket.send_to(b"ping", at)?;
        if let Ok((length, _)) = socket.recv_from(&mut answer) {
            return Ok(String::from_utf8_lossy(&answer[..length]).into_owned());
        }
    }
    Err(std::io::ErrorKind::TimedOut.into())
}

fn resolve(name: &str) -> std::io::Result<String> {
    let addresses: Vec<_> = (name, 1_u16)
        .to_socket_addrs()?
        .map(|at| at.ip().to_string())
        .collect();
    Ok(addresses.join(","))
}

fn connect(name_and_port: &str) -> std::io::Result<String> {
    let at = name_and_port.to_socket_addrs()?.next().unwrap();
    tcp(&at.to_string())
}

fn down(text: &str, seconds: u64) -> std::io::Result<String> {
    let mut stream = dial(address(text))?;
    stream.read_exact(&mut [0; 5])?;
    stream.write_all(b"d")?;
    Ok(measured(&mut stream, Duration::from_secs(seconds)).to_string())
}

fn up(text: &str, seconds: u64) -> std::io::Result<String> {
    let mut stream = dial(address(text))?;
    stream.read_exact(&mut [0; 5])?;
    stream.write_all(b"u")?;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        stream.write_all(&[0; 16_384])?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut rate = String::new();
    stream.read_to_string(&mut rate)?;
    Ok(rate)
}

/// Reads for a time, or to the end; returns the bytes per second after the warm-up.
fn measured(stream: &mut TcpStream, at_most: Duration) -> u64 {
    let (begun, mut bytes, mut last) = (Instant::now(), 0_u64, Instant::now());
    let mut chunk = vec![0; 65_536];
    while begun.elapsed() < at_most {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(read) if begun.elapsed() > WARM_UP => {
                bytes += read as u64;
                last = Instant::now();
            }
            Ok(_) => (),
        }
    }
    let measured = last.duration_since(begun).saturating_sub(WARM_UP);
    (bytes as f64 / measured.as_secs_f64().max(0.001)) as u64
}

/// Serves TCP and UDP on all addresses until the program is killed.
fn serve(port: u16) -> std::io::Result<String> {
    let listener = TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))?;
    match std::env::var(OWN_ADDRESSES) {
        // One socket for each address: that of all of them would answer from another one than it was asked
        // at.
        Ok(addresses) => {
            for address in addresses.split(',') {
                let address: Ipv4Addr = address.parse().unwrap();
                answer_datagrams(UdpSocket::bind((address, port))?);
            }
        }
        Err(_) => {
            let socket = UdpSocket::bind(("::", port)).or_else(|_| UdpSocket::bind(("0.0.0.0", port)))?;
            let _ = socket.join_multicast_v4(&Ipv4Addr::new(239, 1, 2, 3), &Ipv4Addr::UNSPECIFIED);
            answer_datagrams(socket);
        }
    }
    println!("\nACTOR serving");
    for stream in listener.incoming() {
        thread::spawn(move || attend(stream));
    }
    Ok(String::new())
}

fn answer_datagrams(socket: UdpSocket) {
    thread::spawn(move || {
        let mut datagram = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut datagram) {
            let answer = if &datagram[..length] == b"ping" {
                b"pong".to_vec()
            } else {
                dns_answer(&datagram[..length])
            };
            let _ = socket.send_to(&answer, client);
        }
    });
}

/// Waits until a server listens, and reads what it says from then on: a test program that cannot tell that it
/// runs for long ends.
pub(crate) fn await_serving(child: &mut Child) {
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    assert!(lines.any(|line| line == "ACTOR serving"));
    thread::spawn(move || lines.for_each(drop));
}

fn attend(stream: std::io::Result<TcpStream>) {
    let Ok(mut stream) = stream else { return };
    let mut order = [0];
    if stream.write_all(b"assay").is_err() || stream.read_exact(&mut order).is_err() {
        return;
    }
    match &order {
        b"d" => while stream.write_all(&[0; 16_384]).is_ok() {},
        b"u" => {
            let rate = measured(&mut stream, Duration::from_secs(60));
            let _ = write!(stream, "{rate}");
        }
        _ => (),
    }
}

/// Answers any question with the address in `ASSAY_TEST_ADDRESS`, and one about a name with `private` with an
/// address that no job may reach.
fn dns_answer(question: &[u8]) -> Vec<u8> {
    let public: Ipv4Addr = std::env::var("ASSAY_TEST_ADDRESS").unwrap().parse().unwrap();
    let is_private = question.windows(7).any(|window| window == b"private");
    let address = if is_private {
        Ipv4Addr::new(10, 1, 2, 3)
    } else {
        public
    };
    let mut answer = question.to_vec();
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[6..8].copy_from_slice(&[0, 1]);
    answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    answer.extend(address.octets());
    answer
}

/// Returns the name of this program's loader, and the folder with its libraries.
pub(crate) fn loader() -> (String, PathBuf) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let path = maps
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .find(|path| {
            path.rsplit('/')
                .next()
                .is_some_and(|name| name.starts_with("ld-linux"))
        })
        .unwrap();
    let path = PathBuf::from(path).canonicalize().unwrap();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    (name, path.parent().unwrap().to_owned())
}

/// A listener on all of the host's addresses.
pub(crate) struct HostServer(Child);

impl HostServer {
    /// Starts it, and waits until it listens.
    pub(crate) fn start(port: u16) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "actor_in_a_container", "--ignored", "--nocapture"])
            .env(ORDERS, format!("serve {port}"))
            .env("ASSAY_TEST_ADDRESS", "127.0.0.1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        await_serving(&mut child);
        Self(child)
    }
}

impl Drop for HostServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
