#![allow(clippy::unwrap_used)]

use axum::{Router, extract::State, routing::any};
use tokio::net::TcpListener;

use super::*;
use crate::api::tokens::Tokens;

/// Serves a container's port that answers each connection with raw bytes, once its request's head is read.
async fn container<F>(answer: impl Fn(String, TcpStream) -> F + Send + Sync + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            tokio::spawn(answer(String::from_utf8(head).unwrap(), stream));
        }
    });
    address
}

#[derive(Clone)]
struct Settings {
    target: SocketAddr,
    is_owner: bool,
    limits: ProxyLimits,
    seats: Arc<Semaphore>,
    life: Option<TokenLife>,
}

/// Serves the proxy; returns its address and its free seats.
async fn proxy(target: SocketAddr, is_owner: bool, idle: Duration) -> (SocketAddr, Arc<Semaphore>) {
    proxy_by(target, is_owner, idle, None).await
}

/// Serves the proxy to clients whose token has this life.
async fn proxy_by(
    target: SocketAddr,
    is_owner: bool,
    idle: Duration,
    life: Option<TokenLife>,
) -> (SocketAddr, Arc<Semaphore>) {
    let seats = Arc::new(Semaphore::new(2));
    let settings = Settings {
        target,
        is_owner,
        limits: ProxyLimits {
            connect: idle,
            answer: idle,
            idle,
        },
        seats: seats.clone(),
        life,
    };
    let handler = |State(settings): State<Settings>, mut request: Request| async move {
        if let Some(life) = settings.life {
            request.extensions_mut().insert(life);
        }
        let route = Route {
            target: settings.target,
            prefix: "/v1/jobs/7/ports/web".into(),
            path: request.uri().path().to_owned(),
        };
        let client = ProxyClient {
            address: Some([192, 0, 2, 9].into()),
            is_owner: settings.is_owner,
            scheme: "https",
        };
        let seat = settings.seats.acquire_owned().await.unwrap();
        forward(&route, client, request, settings.limits, seat).await
    };
    let router = Router::new().fallback(any(handler)).with_state(settings);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, seats)
}

const PATIENT: Duration = Duration::from_secs(20);

/// Sends raw bytes, and returns all that comes back.
async fn exchange(at: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn headers_of_one_connection_and_tokens_stay_behind() {
    let target = container(|head, mut stream| async move {
        let body = head.to_lowercase();
        let answer = format!(
            "HTTP/1.1 302 Found\r\nLocation: /login?a=b\r\nX-Own: 1\r\nConnection: x-hop\r\nX-Hop: 1\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    for is_owner in [true, false] {
        let (at, _) = proxy(target, is_owner, PATIENT).await;
        let answer = exchange(
            at,
            "GET /a/b?c=d HTTP/1.1\r\nHost: worker\r\nAuthorization: Bearer token\r\nX-Mine: 1\r\nConnection: close, x-secret\r\n\
             X-Secret: 1\r\nX-Forwarded-For: 6.6.6.6\r\nTE: trailers\r\n\r\n",
        )
        .await;
        let answer = answer.to_lowercase();
        assert!(answer.starts_with("http/1.1 302 found\r\n"), "{answer}");
        let (head, seen) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains("location: /v1/jobs/7/ports/web/login?a=b") && head.contains("x-own: 1"),
            "{head}"
        );
        assert!(!head.contains("x-hop"), "{head}");
        assert!(seen.starts_with("get /a/b?c=d http/1.1\r\n"), "{seen}");
        for present in [
            "x-mine: 1",
            "host: worker",
            "x-forwarded-host: worker",
            "x-forwarded-for: 192.0.2.9",
            "x-forwarded-proto: https",
            "x-forwarded-prefix: /v1/jobs/7/ports/web",
        ] {
            assert!(seen.contains(&format!("\r\n{present}\r\n")), "{present}: {seen}");
        }
        for absent in ["x-secret", "6.6.6.6", "te: trailers"] {
            assert!(!seen.contains(absent), "{absent}: {seen}");
        }
        assert_eq!(seen.contains("bearer token"), !is_owner, "{seen}");
    }
}

#[tokio::test]
async fn bodies_stream_in_both_directions() {
    let target = container(|head, mut stream| async move {
        assert!(
            head.to_lowercase().contains("transfer-encoding: chunked"),
            "{head}"
        );
        let begin = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n";
        stream.write_all(begin).await.unwrap();
        // The response began before the request ended.
        let mut sent = Vec::new();
        while !sent.ends_with(b"0\r\n\r\n") {
            sent.push(stream.read_u8().await.unwrap());
        }
        assert_eq!(sent, b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
        stream.write_all(b"3\r\nbye\r\n0\r\n\r\n").await.unwrap();
    })
    .await;
    let (at, seats) = proxy(target, false, PATIENT).await;
    let mut stream = TcpStream::connect(at).await.unwrap();
    let head =
        b"POST / HTTP/1.1\r\nHost: w\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    stream.write_all(head).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"2\r\nhi\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert_eq!(seats.available_permits(), 1);
    stream.write_all(b"2\r\nde\r\n0\r\n\r\n").await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "3\r\nbye\r\n0\r\n\r\n");
    assert_eq!(seats.available_permits(), 2);
}

#[tokio::test]
async fn upgraded_connection_passes_bytes() {
    let target = container(|head, mut stream| async move {
        let head = head.to_lowercase();
        assert!(
            head.contains("upgrade: websocket") && head.contains("connection: upgrade"),
            "{head}"
        );
        assert!(head.contains("sec-websocket-key: abc"), "{head}");
        let begin =
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst";
        stream.write_all(begin).await.unwrap();
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, [0, 255, 1, 254]);
        stream.write_all(&bytes).await.unwrap();
    })
    .await;
    let (at, seats) = proxy(target, false, PATIENT).await;
    let mut stream = TcpStream::connect(at).await.unwrap();
    let head = b"GET /socket HTTP/1.1\r\nHost: w\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: abc\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"first") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let text = String::from_utf8_lossy(&answer).to_lowercase();
    assert!(
        text.starts_with("http/1.1 101 ") && text.contains("upgrade: websocket"),
        "{text}"
    );
    assert_eq!(seats.available_permits(), 1);
    stream.write_all(&[0, 255, 1, 254]).await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, [0, 255, 1, 254]);
    let seat = tokio::time::timeout(PATIENT, seats.acquire_many(2))
        .await
        .unwrap();
    assert!(seat.is_ok());
}

#[tokio::test]
async fn bodies_and_upgraded_connections_end_with_the_token() {
    for begin in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst"[..],
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst",
    ] {
        let target = container(move |_, mut stream| async move {
            stream.write_all(begin).await.unwrap();
            tokio::time::sleep(PATIENT).await;
        })
        .await;
        let now = std::time::Instant::now();
        let tokens = Tokens::new(now).unwrap();
        let token = tokens.issue(7, [1_u8; 32].into(), PATIENT, now).unwrap();
        let (.., life) = tokens.owner(&token, now).unwrap();
        let (at, seats) = proxy_by(target, true, PATIENT, Some(life)).await;
        let mut stream = TcpStream::connect(at).await.unwrap();
        let head = b"GET / HTTP/1.1\r\nHost: w\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(head).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"first") {
            answer.push(stream.read_u8().await.unwrap());
        }
        assert_eq!(seats.available_permits(), 1);
        assert!(tokens.revoke(&token, now));
        let begun = Instant::now();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.ends_with(b"first") && begun.elapsed() < PATIENT / 2);
        let seat = tokio::time::timeout(PATIENT, seats.acquire_many(2))
            .await
            .unwrap();
        assert!(seat.is_ok());
    }
}

#[tokio::test]
async fn containers_that_do_not_answer_are_told() {
    let request = "GET / HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n";
    let short = Duration::from_millis(300);
    let silent = container(|_, stream| async move {
        tokio::time::sleep(PATIENT).await;
        drop(stream);
    })
    .await;
    let answer = exchange(proxy(silent, false, short).await.0, request).await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    let other = container(|_, mut stream| async move {
        stream.write_all(b"SSH-2.0-x\r\n\r\n").await.unwrap();
    })
    .await;
    let answer = exchange(proxy(other, false, short).await.0, request).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    let unasked = container(|_, mut stream| async move {
        let begin = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n";
        stream.write_all(begin).await.unwrap();
    })
    .await;
    let answer = exchange(proxy(unasked, false, short).await.0, request).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let answer = exchange(proxy(nobody, false, short).await.0, request).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    // A body that stops in the middle ends the connection, and gives the seat back.
    let stuck = container(|_, mut stream| async move {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
            .await
            .unwrap();
        tokio::time::sleep(PATIENT).await;
    })
    .await;
    let (at, seats) = proxy(stuck, false, short).await;
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(
        answer.ends_with(b"\r\n\r\nabc"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    let seat = tokio::time::timeout(PATIENT, seats.acquire_many(2))
        .await
        .unwrap();
    assert!(seat.is_ok());
}
