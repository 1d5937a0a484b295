//! SEV-SNP guests whose kernel has no configfs-tsm, and the key that the firmware derives for a guest.
//!
//! Source: Linux, `include/uapi/linux/sev-guest.h`; AMD, *SEV Secure Nested Paging Firmware ABI
//! Specification* (56860), `MSG_REPORT_REQ` and `MSG_KEY_REQ`. Three ioctls are unsafe: the kernel defines
//! their structs.

use std::{fs::File, io, path::Path, path::PathBuf, sync::Arc};

use assay_evidence::{Binding, snp::REPORT_BYTES};
use assay_primitives::market::TeeKind;
use zeroize::{Zeroize, Zeroizing};

use super::{
    snp::certificates_of_table,
    source::{Collected, DevicePaths, EvidenceSource, MissingSource, SourceError},
};

const WHAT: &str = "SEV-SNP";

/// Length of the buffer for certificates, in bytes: the kernel's maximum.
const TABLE_BYTES: usize = 16 * 1_024;

/// Version of the messages to the firmware.
const MESSAGE_VERSION: u8 = 1;

/// Status of a host that needs a buffer of another length for its certificates.
const HOST_INVALID_LENGTH: u64 = 1;

/// Length of the head of the firmware's response, in bytes: status, length, 24 unused bytes; the report
/// follows.
const RESPONSE_HEAD_BYTES: usize = 32;

/// Guest fields that are mixed into the derived key. The *measurement*, so that only this workload gets the
/// key; and the guest's *policy*, because a host could start the same workload with debugging allowed and
/// read its memory. Not the firmware's versions: every update would change the key.
const KEY_FIELDS: u64 = GUEST_POLICY | MEASUREMENT;
const GUEST_POLICY: u64 = 1 << 0;
const MEASUREMENT: u64 = 1 << 3;

/// `struct snp_report_req`.
#[repr(C)]
#[derive(Clone)]
struct ReportRequest {
    user_data: [u8; 64],
    vmpl: u32,
    reserved: [u8; 28],
}

/// `struct snp_ext_report_req`.
#[repr(C)]
struct ExtendedReportRequest {
    data: ReportRequest,
    certs_address: u64,
    certs_len: u32,
}

/// `struct snp_report_resp`.
#[repr(C)]
struct ReportResponse {
    data: [u8; 4_000],
}

/// `struct snp_derived_key_req`.
#[repr(C)]
struct DerivedKeyRequest {
    root_key_select: u32,
    reserved: u32,
    guest_field_select: u64,
    vmpl: u32,
    guest_svn: u32,
    tcb_version: u64,
}

/// `struct snp_derived_key_resp`.
#[repr(C)]
struct DerivedKeyResponse {
    data: [u8; 64],
}

/// `struct snp_guest_request_ioctl`.
#[repr(C)]
struct GuestRequest {
    msg_version: u8,
    req_data: u64,
    resp_data: u64,
    /// Error of the request: the firmware's code in the lower half, the host's in the upper one.
    exit_info: u64,
}

// Sizes that the kernel's interface defines.
const _: () = {
    assert!(size_of::<ReportRequest>() == 96);
    assert!(size_of::<ExtendedReportRequest>() == 112);
    assert!(size_of::<ReportResponse>() == 4_000);
    assert!(size_of::<DerivedKeyRequest>() == 32);
    assert!(size_of::<DerivedKeyResponse>() == 64);
    assert!(size_of::<GuestRequest>() == 32);
    assert!(REPORT_BYTES + RESPONSE_HEAD_BYTES <= 4_000);
};

/// An ioctl that the kernel refused.
#[derive(Debug)]
struct RequestError {
    error: io::Error,
    exit_info: u64,
}

impl RequestError {
    fn text(&self) -> String {
        if self.exit_info == 0 {
            return self.error.to_string();
        }
        format!(
            "{} (firmware {:#x}, host {:#x})",
            self.error,
            self.exit_info & u64::from(u32::MAX),
            self.exit_info >> 32
        )
    }
}

/// The guest interface: the kernel, or a fake in tests.
trait Guest: Send + Sync {
    /// Returns a report with the host's certificates.
    fn extended_report(
        &self,
        request: &ReportRequest,
        table: &mut [u8; TABLE_BYTES],
    ) -> Result<ReportResponse, RequestError>;

    /// Returns a report.
    fn report(&self, request: &ReportRequest) -> Result<ReportResponse, RequestError>;

    /// Returns a key that is derived for this guest.
    fn derived_key(&self, request: &DerivedKeyRequest) -> Result<DerivedKeyResponse, RequestError>;
}

/// The kernel's device file.
struct Device(File);

impl Device {
    fn open(path: &Path) -> Result<Self, SourceError> {
        // The ioctls need write access.
        File::options()
            .read(true)
            .write(true)
            .open(path)
            .map(Self)
            .map_err(|error| SourceError::io("open", path, error))
    }

    /// Sends one request.
    ///
    /// # Safety
    /// `Request` and `Response` must be the structs that the kernel expects for this opcode, and every
    /// address in `request` must be valid for the length that is given with it.
    #[allow(unsafe_code, reason = "there is no other way to ask this device")]
    unsafe fn send<const OPCODE: rustix::ioctl::Opcode, Request, Response>(
        &self,
        request: &Request,
        response: &mut Response,
    ) -> Result<(), RequestError> {
        let mut call = GuestRequest {
            msg_version: MESSAGE_VERSION,
            req_data: std::ptr::from_ref(request).expose_provenance() as u64,
            resp_data: std::ptr::from_mut(response).expose_provenance() as u64,
            exit_info: 0,
        };
        // SAFETY: the struct is that of the kernel's interface, and the caller guarantees the structs that it
        // points to, which are borrowed until the call returns.
        let outcome = unsafe {
            let updater = rustix::ioctl::Updater::<OPCODE, GuestRequest>::new(&mut call);
            rustix::ioctl::ioctl(&self.0, updater)
        };
        outcome.map_err(|error| RequestError {
            error: error.into(),
            exit_info: call.exit_info,
        })
    }
}

const fn opcode(number: u8) -> rustix::ioctl::Opcode {
    rustix::ioctl::opcode::read_write::<GuestRequest>(b'S', number)
}

const GET_REPORT: rustix::ioctl::Opcode = opcode(0);
const GET_DERIVED_KEY: rustix::ioctl::Opcode = opcode(1);
const GET_EXTENDED_REPORT: rustix::ioctl::Opcode = opcode(2);

#[allow(unsafe_code, reason = "there is no other way to ask this device")]
impl Guest for Device {
    fn extended_report(
        &self,
        request: &ReportRequest,
        table: &mut [u8; TABLE_BYTES],
    ) -> Result<ReportResponse, RequestError> {
        let request = ExtendedReportRequest {
            data: request.clone(),
            certs_address: table.as_mut_ptr().expose_provenance() as u64,
            certs_len: TABLE_BYTES as u32,
        };
        let mut response = ReportResponse { data: [0; 4_000] };
        // SAFETY: these are the structs of SNP_GET_EXT_REPORT, and the table is borrowed for the whole given
        // length.
        unsafe { self.send::<GET_EXTENDED_REPORT, _, _>(&request, &mut response) }?;
        Ok(response)
    }

    fn report(&self, request: &ReportRequest) -> Result<ReportResponse, RequestError> {
        let mut response = ReportResponse { data: [0; 4_000] };
        // SAFETY: these are the structs of SNP_GET_REPORT, without addresses in them.
        unsafe { self.send::<GET_REPORT, _, _>(request, &mut response) }?;
        Ok(response)
    }

    fn derived_key(&self, request: &DerivedKeyRequest) -> Result<DerivedKeyResponse, RequestError> {
        let mut response = DerivedKeyResponse { data: [0; 64] };
        // SAFETY: these are the structs of SNP_GET_DERIVED_KEY, without addresses in them.
        unsafe { self.send::<GET_DERIVED_KEY, _, _>(request, &mut response) }?;
        Ok(response)
    }
}

struct SevGuest {
    path: PathBuf,
}

/// Returns the guest device as a source of evidence, if this is a SEV-SNP guest.
pub(super) fn look(paths: &DevicePaths) -> Result<Arc<dyn EvidenceSource>, MissingSource> {
    let path = &paths.sev_guest;
    if !path.exists() {
        return Err(MissingSource::new(
            WHAT,
            format!(
                "{} is not there; run the worker in a SEV-SNP guest, with the driver sev-guest loaded",
                path.display()
            ),
        ));
    }
    match Device::open(path) {
        Ok(_) => Ok(Arc::new(SevGuest { path: path.clone() })),
        Err(error) => Err(MissingSource::new(WHAT, error.to_string())),
    }
}

impl EvidenceSource for SevGuest {
    fn name(&self) -> &str {
        "sev-guest"
    }

    fn kind(&self) -> TeeKind {
        TeeKind::SevSnp
    }

    fn collect(&self, binding: &Binding) -> Result<Collected, SourceError> {
        collect(&Device::open(&self.path)?, binding, &self.path)
    }
}

fn collect(guest: &impl Guest, binding: &Binding, path: &Path) -> Result<Collected, SourceError> {
    let device = || path.display().to_string();
    let request = ReportRequest {
        user_data: binding.report_data(),
        vmpl: 0,
        reserved: [0; 28],
    };
    let mut table = Box::new([0; TABLE_BYTES]);
    let (response, table) = match guest.extended_report(&request, &mut table) {
        Ok(response) => (response, &table[..]),
        // Some hosts provide no certificates, or more than the kernel's maximum: request the report without
        // them.
        Err(error) => {
            if error.exit_info >> 32 == HOST_INVALID_LENGTH {
                tracing::warn!("the host has more certificates than fit; requesting them from AMD");
            }
            let response = guest
                .report(&request)
                .map_err(|error| SourceError::refused(device(), error.text()))?;
            (response, &[][..])
        }
    };
    let report = report_of(&response).map_err(|reason| SourceError::refused(device(), reason))?;
    let certificates = certificates_of_table(table).unwrap_or_else(|problem| {
        tracing::warn!(
            problem,
            "reading the host's certificates failed; requesting them from AMD"
        );
        Vec::new()
    });
    Ok(Collected::Snp { report, certificates })
}

/// Extracts the report from the firmware's response.
fn report_of(response: &ReportResponse) -> Result<Vec<u8>, String> {
    let (head, rest) = response.data.split_at(RESPONSE_HEAD_BYTES);
    let number = |at: usize| {
        head.get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(u32::MAX, u32::from_le_bytes)
    };
    let (status, length) = (number(0), number(4));
    if status != 0 {
        return Err(format!("the firmware refused with status {status:#x}"));
    }
    if length as usize != REPORT_BYTES {
        return Err(format!(
            "the firmware's report has {length} bytes instead of {REPORT_BYTES}"
        ));
    }
    rest.get(..REPORT_BYTES)
        .map(<[u8]>::to_vec)
        .ok_or_else(|| "the firmware's report is cut off".to_owned())
}

/// Returns a secret that the firmware derives for this workload on this chip only, and the workload's own
/// report, which shows how it was started.
pub(crate) fn derived_key(path: &Path) -> Result<Zeroizing<[u8; 32]>, SourceError> {
    derived_key_of(&Device::open(path)?, path)
}

/// Returns a report without certificates and with empty report data: the guest's statement about itself.
pub(crate) fn own_report(path: &Path) -> Result<Vec<u8>, SourceError> {
    let request = ReportRequest {
        user_data: [0; 64],
        vmpl: 0,
        reserved: [0; 28],
    };
    let device = || path.display().to_string();
    let response = Device::open(path)?
        .report(&request)
        .map_err(|error| SourceError::refused(device(), error.text()))?;
    report_of(&response).map_err(|reason| SourceError::refused(device(), reason))
}

fn derived_key_of(guest: &impl Guest, path: &Path) -> Result<Zeroizing<[u8; 32]>, SourceError> {
    let device = || path.display().to_string();
    let request = DerivedKeyRequest {
        // Root: the chip's own key (VCEK).
        root_key_select: 0,
        reserved: 0,
        guest_field_select: KEY_FIELDS,
        vmpl: 0,
        guest_svn: 0,
        tcb_version: 0,
    };
    let mut response = guest
        .derived_key(&request)
        .map_err(|error| SourceError::refused(device(), error.text()))?;
    let mut key = Zeroizing::new([0; 32]);
    let (head, secret) = response.data.split_at(RESPONSE_HEAD_BYTES);
    let status = head
        .first_chunk()
        .map_or(u32::MAX, |bytes| u32::from_le_bytes(*bytes));
    key.copy_from_slice(secret);
    response.data.zeroize();
    if status != 0 {
        return Err(SourceError::refused(
            device(),
            format!("the firmware derived no key: status {status:#x}"),
        ));
    }
    // A predictable key must not be used.
    if *key == [0; 32] {
        return Err(SourceError::refused(device(), "the firmware derived no key"));
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{
        super::{snp::tests::table, tests::BINDING},
        *,
    };

    /// A fake firmware with its host.
    struct Fake {
        status: u32,
        length: u32,
        table: Vec<u8>,
        /// The host's status in place of certificates.
        refusal: Option<u64>,
    }

    const FAKE: Fake = Fake {
        status: 0,
        length: REPORT_BYTES as u32,
        table: Vec::new(),
        refusal: None,
    };

    impl Fake {
        fn answer(&self, request: &ReportRequest) -> ReportResponse {
            let mut data = [0; 4_000];
            data[..4].copy_from_slice(&self.status.to_le_bytes());
            data[4..8].copy_from_slice(&self.length.to_le_bytes());
            let at = RESPONSE_HEAD_BYTES + 0x50;
            data[at..at + 64].copy_from_slice(&request.user_data);
            ReportResponse { data }
        }
    }

    impl Guest for Fake {
        fn extended_report(
            &self,
            request: &ReportRequest,
            table: &mut [u8; TABLE_BYTES],
        ) -> Result<ReportResponse, RequestError> {
            if let Some(exit_info) = self.refusal {
                return Err(RequestError {
                    error: io::Error::from_raw_os_error(5),
                    exit_info,
                });
            }
            table[..self.table.len()].copy_from_slice(&self.table);
            Ok(self.answer(request))
        }

        fn report(&self, request: &ReportRequest) -> Result<ReportResponse, RequestError> {
            Ok(self.answer(request))
        }

        fn derived_key(&self, request: &DerivedKeyRequest) -> Result<DerivedKeyResponse, RequestError> {
            assert_eq!(request.guest_field_select, 0b1001);
            assert_eq!((request.root_key_select, request.tcb_version), (0, 0));
            let mut data = [0; 64];
            data[..4].copy_from_slice(&self.status.to_le_bytes());
            data[32..].fill(self.length as u8);
            Ok(DerivedKeyResponse { data })
        }
    }

    fn collected(fake: &Fake) -> Result<Collected, String> {
        collect(fake, &BINDING, Path::new("/dev/sev-guest")).map_err(|error| error.to_string())
    }

    #[test]
    fn report_is_asked_for_with_the_binding() {
        let fake = Fake {
            table: table(),
            ..FAKE
        };
        let Collected::Snp { report, certificates } = collected(&fake).unwrap() else {
            panic!("it is no report")
        };
        assert_eq!(report.len(), REPORT_BYTES);
        assert_eq!(report[0x50..0x90], BINDING.report_data());
        assert_eq!(
            certificates,
            [b"the chip's".to_vec(), b"the authority's".to_vec()]
        );
    }

    #[test]
    fn host_without_certificates_leaves_the_report() {
        for fake in [
            FAKE,
            Fake {
                refusal: Some(HOST_INVALID_LENGTH << 32),
                ..FAKE
            },
            Fake {
                table: vec![1; TABLE_BYTES],
                ..FAKE
            },
        ] {
            let collected = collected(&fake).unwrap();
            assert!(matches!(collected, Collected::Snp { certificates, .. } if certificates.is_empty()));
        }
    }

    #[test]
    fn what_the_firmware_refuses_is_said() {
        let refused = Fake { status: 0x16, ..FAKE };
        assert!(collected(&refused).unwrap_err().contains("status 0x16"));
        let short = Fake { length: 9, ..FAKE };
        assert!(collected(&short).unwrap_err().contains("has 9 bytes"));
    }

    #[test]
    fn derived_key_is_the_firmwares() {
        let path = Path::new("/dev/sev-guest");
        let key = |fake: Fake| derived_key_of(&fake, path).map(|key| *key);
        assert_eq!(key(Fake { length: 7, ..FAKE }).unwrap(), [7; 32]);
        assert!(key(Fake { length: 0, ..FAKE }).is_err());
        let refused = key(Fake {
            status: 0x27,
            length: 7,
            ..FAKE
        });
        assert!(refused.unwrap_err().to_string().contains("status 0x27"));
    }

    #[test]
    fn requests_have_the_numbers_of_the_kernels_interface() {
        // `_IOWR('S', n, 32 bytes)`.
        assert_eq!(GET_REPORT, 0xc020_5300);
        assert_eq!(GET_DERIVED_KEY, 0xc020_5301);
        assert_eq!(GET_EXTENDED_REPORT, 0xc020_5302);
    }

    #[test]
    fn file_that_is_no_device_gives_no_evidence() {
        let folder = tempfile::tempdir().unwrap();
        let paths = DevicePaths::below(folder.path());
        assert!(
            look(&paths)
                .map(|_| ())
                .unwrap_err()
                .reason
                .contains("is not there")
        );
        std::fs::write(&paths.sev_guest, "").unwrap();
        let source = look(&paths).unwrap();
        let error = source.collect(&BINDING).unwrap_err();
        assert!(matches!(error, SourceError::Refused { .. }), "{error}");
        assert!(derived_key(&paths.sev_guest).is_err());
    }
}
