//! TDX trust domains whose kernel has no configfs-tsm.
//!
//! `/dev/tdx_guest` returns a TDREPORT, which only the same machine can verify. A service on the host, next
//! to its quoting enclave, makes a quote of it; it listens on vsock, at the port that `/etc/tdx-attest.conf`
//! names. Sources: Linux, `include/uapi/linux/tdx-guest.h` and `vm_sockets.h`; Intel's `qgs_msg_lib.h`, and
//! QEMU's `tdx-quote-generator.c`, which speaks the same protocol: a big-endian length of four bytes, then a
//! message of little-endian numbers. One ioctl and one socket address are unsafe: the kernel defines their
//! structs.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use assay_evidence::{Binding, intel::MAX_QUOTE_BYTES};
use assay_primitives::market::TeeKind;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType,
    addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque},
    connect, socket_with,
    sockopt::{Timeout, set_socket_timeout},
};

use super::{
    bounded,
    source::{Collected, DevicePaths, EvidenceSource, MissingSource, SourceError},
};

const WHAT: &str = "TDX";

/// Maximum length of the configuration file, in bytes.
const MAX_CONFIG_BYTES: usize = 4_096;

/// Length of a TDREPORT, in bytes.
const REPORT_BYTES: usize = 1_024;

/// Timeout of each read and write.
const PATIENCE: Duration = Duration::from_secs(30);

/// Context id (CID) of the host on vsock.
const HOST_CID: u32 = 2;

/// Version of the protocol, and the types of its messages.
const VERSION: [u8; 4] = [1, 0, 1, 0];
const GET_QUOTE_REQUEST: u32 = 0;
const GET_QUOTE_RESPONSE: u32 = 1;

/// Length of a message's head, in bytes: version, type, length and error.
const HEAD_BYTES: usize = 16;

/// `struct tdx_report_req`.
#[repr(C)]
struct ReportRequest {
    report_data: [u8; 64],
    report: [u8; REPORT_BYTES],
}

/// `struct sockaddr_vm`.
#[repr(C)]
struct VsockAddress {
    family: u16,
    reserved: u16,
    port: u32,
    cid: u32,
    zero: [u8; 4],
}

// Sizes that the kernel's interface defines.
const _: () = {
    assert!(size_of::<ReportRequest>() == 1_088);
    assert!(size_of::<VsockAddress>() == 16);
};

const GET_REPORT: rustix::ioctl::Opcode = rustix::ioctl::opcode::read_write::<ReportRequest>(b'T', 1);

#[allow(unsafe_code, reason = "the library has no address of this kind")]
// SAFETY: the pointer is to the whole address, which lives for the duration of the call, and has the kernel's
// format for addresses of this family.
unsafe impl SocketAddrArg for VsockAddress {
    unsafe fn with_sockaddr<R>(&self, call: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        call(
            std::ptr::from_ref(self).cast(),
            size_of::<Self>() as SocketAddrLen,
        )
    }
}

struct TdxGuest {
    device: PathBuf,
    port: u32,
}

/// Returns the trust domain as a source of quotes, if its host makes them other than through the kernel.
pub(super) fn look(paths: &DevicePaths) -> Result<Arc<dyn EvidenceSource>, MissingSource> {
    let missing = |reason: String| Err(MissingSource::new(WHAT, reason));
    if !paths.tdx_guest.exists() {
        return missing(format!(
            "{} is not there; run the worker in a trust domain of a machine with TDX",
            paths.tdx_guest.display()
        ));
    }
    let config = match bounded::read_if_present(&paths.tdx_attest_config, MAX_CONFIG_BYTES) {
        Ok(config) => config.unwrap_or_default(),
        Err(error) => return missing(error.to_string()),
    };
    let Some(port) = port_in(&String::from_utf8_lossy(&config)) else {
        return missing(format!(
            "this is a trust domain, but {} alone gives reports that only this machine can verify; run a kernel of 6.7 or \
             later with CONFIG_TSM_REPORTS, so that {} serves quotes, or write `port=4050`, or whichever the host's quote \
             generation service has, into {}",
            paths.tdx_guest.display(),
            paths.tsm_reports.display(),
            paths.tdx_attest_config.display()
        ));
    };
    Ok(Arc::new(TdxGuest {
        device: paths.tdx_guest.clone(),
        port,
    }))
}

/// Returns the port in a configuration: a line `port = number`; `#` starts a comment.
fn port_in(config: &str) -> Option<u32> {
    config.lines().find_map(|line| {
        let (line, _) = line.split_once('#').unwrap_or((line, ""));
        let (key, value) = line.split_once('=')?;
        (key.trim() == "port").then(|| value.trim().parse().ok())?
    })
}

impl EvidenceSource for TdxGuest {
    fn name(&self) -> &str {
        "tdx-guest"
    }

    fn kind(&self) -> TeeKind {
        TeeKind::Tdx
    }

    fn collect(&self, binding: &Binding) -> Result<Collected, SourceError> {
        let report = local_report(&self.device, binding)?;
        let service = || format!("the quote generation service at port {}", self.port);
        let mut stream = connected(self.port)
            .map_err(|error| SourceError::refused(service(), format!("it does not answer: {error}")))?;
        quote_of(&mut stream, &report)
            .map(Collected::Quote)
            .map_err(|reason| SourceError::refused(service(), reason))
    }
}

/// Returns the TDREPORT, which only this machine can verify.
#[allow(unsafe_code, reason = "there is no other way to ask this device")]
fn local_report(device: &Path, binding: &Binding) -> Result<[u8; REPORT_BYTES], SourceError> {
    let file = File::options()
        .read(true)
        .write(true)
        .open(device)
        .map_err(|error| SourceError::io("open", device, error))?;
    let mut request = ReportRequest {
        report_data: binding.report_data(),
        report: [0; REPORT_BYTES],
    };
    // SAFETY: this is the struct of TDX_CMD_GET_REPORT0, without addresses in it.
    let outcome = unsafe {
        let updater = rustix::ioctl::Updater::<GET_REPORT, ReportRequest>::new(&mut request);
        rustix::ioctl::ioctl(&file, updater)
    };
    outcome.map_err(|error| SourceError::refused(device.display().to_string(), error.to_string()))?;
    Ok(request.report)
}

/// Connects to the host, with a timeout for each read and write.
fn connected(port: u32) -> io::Result<File> {
    let socket = socket_with(
        AddressFamily::VSOCK,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    for way in [Timeout::Send, Timeout::Recv] {
        set_socket_timeout(&socket, way, Some(PATIENCE))?;
    }
    let address = VsockAddress {
        family: AddressFamily::VSOCK.as_raw(),
        reserved: 0,
        port,
        cid: HOST_CID,
        zero: [0; 4],
    };
    connect(&socket, &address)?;
    Ok(File::from(socket))
}

/// Requests a quote of a report from the service.
fn quote_of(stream: &mut (impl Read + Write), report: &[u8; REPORT_BYTES]) -> Result<Vec<u8>, String> {
    let broken = |error: io::Error| format!("the connection failed: {error}");
    let length = HEAD_BYTES + 8 + REPORT_BYTES;
    let mut message = Vec::with_capacity(4 + length);
    message.extend((length as u32).to_be_bytes());
    message.extend(VERSION);
    message.extend(GET_QUOTE_REQUEST.to_le_bytes());
    message.extend((length as u32).to_le_bytes());
    // No error, the report's length, and no choice of a quoting enclave.
    message.extend(0_u32.to_le_bytes());
    message.extend((REPORT_BYTES as u32).to_le_bytes());
    message.extend(0_u32.to_le_bytes());
    message.extend(report);
    stream.write_all(&message).map_err(broken)?;

    let mut length = [0; 4];
    stream.read_exact(&mut length).map_err(broken)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > HEAD_BYTES + 8 + 256 + MAX_QUOTE_BYTES {
        return Err(format!("it announces {length} bytes, more than any quote has"));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).map_err(broken)?;
    quote_in(&answer)
}

/// Extracts the quote from a response of the service.
fn quote_in(answer: &[u8]) -> Result<Vec<u8>, String> {
    let number = |at: usize| -> Option<u32> {
        let bytes = answer.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let cut = || "its response is cut off".to_owned();
    let (kind, length, error) = (
        number(4).ok_or_else(cut)?,
        number(8).ok_or_else(cut)?,
        number(12).ok_or_else(cut)?,
    );
    if !answer.starts_with(&[1, 0]) || kind != GET_QUOTE_RESPONSE {
        return Err("it responds in another protocol".to_owned());
    }
    if error != 0 {
        return Err(format!(
            "it made no quote: error {error:#x}; its log on the host says why"
        ));
    }
    if length as usize != answer.len() {
        return Err("its response does not have the length that it states".to_owned());
    }
    let id_length = number(16).ok_or_else(cut)? as usize;
    let quote_length = number(20).ok_or_else(cut)? as usize;
    let rest = answer.get(HEAD_BYTES + 8..).ok_or_else(cut)?;
    match rest.split_at_checked(id_length) {
        Some((_, quote))
            if quote.len() == quote_length && !quote.is_empty() && quote_length <= MAX_QUOTE_BYTES =>
        {
            Ok(quote.to_vec())
        }
        _ => Err("its response does not have the length that it states".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{os::unix::net::UnixStream, thread};

    use proptest::prelude::*;

    use super::{super::tests::BINDING, *};

    const REPORT: [u8; REPORT_BYTES] = [7; REPORT_BYTES];

    /// Makes a response with these parts, as the service encodes it.
    fn answer(kind: u32, error: u32, id: &[u8], quote: &[u8]) -> Vec<u8> {
        let mut answer = VERSION.to_vec();
        answer.extend(kind.to_le_bytes());
        answer.extend(((HEAD_BYTES + 8 + id.len() + quote.len()) as u32).to_le_bytes());
        answer.extend(error.to_le_bytes());
        answer.extend((id.len() as u32).to_le_bytes());
        answer.extend((quote.len() as u32).to_le_bytes());
        answer.extend(id);
        answer.extend(quote);
        answer
    }

    /// Sends a request to a service that responds with these bytes; also returns the request.
    fn ask(bytes: Vec<u8>) -> (Result<Vec<u8>, String>, Vec<u8>) {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let service = thread::spawn(move || {
            let mut asked = vec![0; 4 + HEAD_BYTES + 8 + REPORT_BYTES];
            theirs.read_exact(&mut asked).unwrap();
            let _ = theirs.write_all(&bytes);
            asked
        });
        let outcome = quote_of(&mut ours, &REPORT);
        (outcome, service.join().unwrap())
    }

    fn framed(answer: &[u8]) -> Vec<u8> {
        [&(answer.len() as u32).to_be_bytes(), answer].concat()
    }

    #[test]
    fn quote_is_asked_for_with_the_report() {
        for id in [&b""[..], &[9; 16]] {
            let answer = answer(GET_QUOTE_RESPONSE, 0, id, b"the quote");
            let (quote, asked) = ask(framed(&answer));
            assert_eq!(quote.unwrap(), b"the quote");
            // Length; version 1.1, type, length, no error; the report's length, no list.
            let expected = "00000418 01000100 00000000 18040000 00000000 00040000 00000000";
            let head = hex::encode(&asked[..28]);
            assert_eq!(head, expected.replace(' ', ""));
            assert_eq!(asked[28..], REPORT);
        }
    }

    #[test]
    fn other_answers_are_refused() {
        let good = answer(GET_QUOTE_RESPONSE, 0, b"", b"quote");
        let mut longer = good.clone();
        longer.push(0);
        for (bytes, expected) in [
            (
                framed(&answer(GET_QUOTE_RESPONSE, 0x11001, b"", b"")),
                "error 0x11001",
            ),
            (
                framed(&answer(GET_QUOTE_RESPONSE, 0, b"", b"")),
                "does not have the length",
            ),
            (framed(&answer(3, 0, b"", b"quote")), "another protocol"),
            (framed(&longer), "does not have the length"),
            (framed(&good[..10]), "cut off"),
            (u32::MAX.to_be_bytes().to_vec(), "more than any quote has"),
            (framed(&good)[..20].to_vec(), "connection failed"),
            (Vec::new(), "connection failed"),
        ] {
            let error = ask(bytes).0.unwrap_err();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(answer in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = quote_in(&answer);
        }

        #[test]
        fn damaged_answers_give_no_more_than_they_have(at in 0_usize..29, byte: u8) {
            let mut answer = answer(GET_QUOTE_RESPONSE, 0, b"", b"quote");
            answer[at] = byte;
            if let Ok(quote) = quote_in(&answer) {
                prop_assert!(quote.len() <= 5);
            }
        }
    }

    #[test]
    fn port_is_that_of_the_configuration() {
        for (config, port) in [
            ("port=4050", Some(4_050)),
            ("# the service\n port = 4050 # as on the host\n", Some(4_050)),
            ("#port=4050", None),
            ("port=", None),
            ("port=-1", None),
            ("report=1", None),
            ("", None),
        ] {
            assert_eq!(port_in(config), port, "{config}");
        }
    }

    #[test]
    fn every_missing_piece_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let paths = DevicePaths::below(folder.path());
        let missing = |paths: &DevicePaths| look(paths).map(|_| ()).unwrap_err().to_string();
        assert!(missing(&paths).contains("is not there"));
        std::fs::write(&paths.tdx_guest, "").unwrap();
        assert!(missing(&paths).contains("6.7") && missing(&paths).contains("port=4050"));
        std::fs::write(&paths.tdx_attest_config, "port=4050").unwrap();
        // A regular file is no device.
        let source = look(&paths).unwrap();
        assert_eq!((source.name(), source.kind()), ("tdx-guest", TeeKind::Tdx));
        let error = source.collect(&BINDING).unwrap_err();
        assert!(matches!(error, SourceError::Refused { .. }), "{error}");
    }

    #[test]
    fn request_has_the_number_of_the_kernels_interface() {
        assert_eq!(GET_REPORT, 0xc440_5401);
    }
}
