//! Events of `attestation`: machines' evidence, and the collateral and policies that judge it.

use std::fmt;

use assay_primitives::machine::MachineId;
use scale_decode::DecodeAsType;
use serde::Serialize;

use crate::{
    types::{AccountId, CollateralId, EvidenceId, JobId, KeyId, SlashId, Vendor, as_hex},
    units::format_time,
};

/// Event of machines' evidence, or of the collateral and policies by which the chain judges evidence.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
#[serde(tag = "event")]
#[non_exhaustive]
pub enum AttestationEvent {
    /// The chain verified evidence, which counts from now on.
    EvidenceAccepted {
        /// The machine.
        machine: MachineId,
        /// Name of the evidence.
        id: EvidenceId,
        /// Digest of the workload that runs there.
        #[serde(serialize_with = "as_hex")]
        workload: [u8; 32],
        /// End of the evidence, in seconds since 1970.
        until_s: u64,
    },
    /// The provider or worker took evidence back.
    EvidenceWithdrawn {
        /// The machine.
        machine: MachineId,
        /// Name of the evidence.
        id: EvidenceId,
    },
    /// Evidence has ended.
    EvidenceExpired {
        /// The machine.
        machine: MachineId,
        /// Name of the evidence.
        id: EvidenceId,
    },
    /// Governance removed evidence.
    EvidenceDropped {
        /// The machine.
        machine: MachineId,
        /// Name of the evidence.
        id: EvidenceId,
    },
    /// The chain verified a key's certificates, and keeps the key.
    KeyKept {
        /// The key.
        #[serde(serialize_with = "as_hex")]
        key: KeyId,
        /// Account that pays for it.
        owner: AccountId,
        /// End of its certificates' validity, in seconds since 1970.
        valid_until_s: u64,
    },
    /// The chain removed a key; evidence signed by it needs its certificates again.
    KeyRemoved {
        /// The key.
        #[serde(serialize_with = "as_hex")]
        key: KeyId,
    },
    /// Newer collateral replaced older.
    CollateralRenewed {
        /// Identifier of the piece.
        collateral: CollateralId,
    },
    /// Governance removed collateral.
    CollateralRemoved {
        /// Identifier of the piece.
        collateral: CollateralId,
    },
    /// A root is trusted.
    RootAdded {
        /// Vendor of the root.
        vendor: Vendor,
        /// Its fingerprint.
        #[serde(serialize_with = "as_hex")]
        fingerprint: [u8; 32],
    },
    /// A root is not trusted any more, nor is any chain of certificates that ends in it.
    RootRemoved {
        /// Vendor of the root.
        vendor: Vendor,
        /// Its fingerprint.
        #[serde(serialize_with = "as_hex")]
        fingerprint: [u8; 32],
    },
    /// A workload is accepted.
    WorkloadAllowed {
        /// Its digest.
        #[serde(serialize_with = "as_hex")]
        digest: [u8; 32],
    },
    /// A workload is not accepted any more.
    WorkloadDisallowed {
        /// Its digest.
        #[serde(serialize_with = "as_hex")]
        digest: [u8; 32],
    },
    /// Reference values for a driver or VBIOS were added.
    ReferenceSet {
        /// Hash of its component, chip, board and version.
        #[serde(serialize_with = "as_hex")]
        reference: [u8; 32],
    },
    /// Reference values for a driver or VBIOS were removed.
    ReferenceRemoved {
        /// Hash of its component, chip, board and version.
        #[serde(serialize_with = "as_hex")]
        reference: [u8; 32],
    },
    /// Governance changed the policies by which evidence is accepted.
    PoliciesSet,
    /// A device's evidence is not accepted any more.
    DeviceBanned {
        /// The device.
        #[serde(serialize_with = "as_hex")]
        device: [u8; 32],
    },
    /// A device's evidence is accepted again.
    DeviceUnbanned {
        /// The device.
        #[serde(serialize_with = "as_hex")]
        device: [u8; 32],
    },
    /// Governance found that a machine's evidence was forged, or relayed from another machine.
    MachineCondemned {
        /// The machine.
        machine: MachineId,
        /// Device that signed, or seemed to.
        #[serde(serialize_with = "as_hex")]
        device: [u8; 32],
        /// Slash that it costs.
        slash: SlashId,
    },
}

impl AttestationEvent {
    /// Returns the machine that the event is about, if any.
    pub fn machine(&self) -> Option<MachineId> {
        match self {
            Self::EvidenceAccepted { machine, .. }
            | Self::EvidenceWithdrawn { machine, .. }
            | Self::EvidenceExpired { machine, .. }
            | Self::EvidenceDropped { machine, .. }
            | Self::MachineCondemned { machine, .. } => Some(*machine),
            Self::KeyKept { .. }
            | Self::KeyRemoved { .. }
            | Self::CollateralRenewed { .. }
            | Self::CollateralRemoved { .. }
            | Self::RootAdded { .. }
            | Self::RootRemoved { .. }
            | Self::WorkloadAllowed { .. }
            | Self::WorkloadDisallowed { .. }
            | Self::ReferenceSet { .. }
            | Self::ReferenceRemoved { .. }
            | Self::PoliciesSet
            | Self::DeviceBanned { .. }
            | Self::DeviceUnbanned { .. } => None,
        }
    }

    /// Returns `None`: no event of this pallet is about a job.
    pub fn job(&self) -> Option<JobId> {
        None
    }
}

impl fmt::Display for AttestationEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EvidenceAccepted {
                machine,
                id,
                workload,
                until_s,
            } => write!(
                f,
                "evidence of machine {machine} counts until {}: {id}, workload 0x{}",
                format_time(*until_s),
                hex::encode(workload)
            ),
            Self::EvidenceWithdrawn { machine, id } => {
                write!(f, "evidence of machine {machine} was taken back: {id}")
            }
            Self::EvidenceExpired { machine, id } => {
                write!(f, "evidence of machine {machine} has ended: {id}")
            }
            Self::EvidenceDropped { machine, id } => {
                write!(f, "governance removed evidence of machine {machine}: {id}")
            }
            Self::KeyKept {
                key,
                owner,
                valid_until_s,
            } => write!(
                f,
                "key 0x{} of a device is kept, its certificates are valid until {}; {owner} pays for it",
                hex::encode(key),
                format_time(*valid_until_s)
            ),
            Self::KeyRemoved { key } => write!(
                f,
                "key 0x{} of a device was removed; who uses it has to bring its certificates again",
                hex::encode(key)
            ),
            Self::CollateralRenewed { collateral } => write!(f, "newer collateral is there: {collateral}"),
            Self::CollateralRemoved { collateral } => {
                write!(f, "governance removed collateral: {collateral}")
            }
            Self::RootAdded { vendor, fingerprint } => {
                write!(f, "{vendor}'s root 0x{} is trusted", hex::encode(fingerprint))
            }
            Self::RootRemoved { vendor, fingerprint } => write!(
                f,
                "{vendor}'s root 0x{} is not trusted any more, and no chain that ends in it",
                hex::encode(fingerprint)
            ),
            Self::WorkloadAllowed { digest } => {
                write!(f, "workload 0x{} is accepted", hex::encode(digest))
            }
            Self::WorkloadDisallowed { digest } => {
                write!(f, "workload 0x{} is not accepted any more", hex::encode(digest))
            }
            Self::ReferenceSet { reference } => write!(
                f,
                "there are reference values for the driver or VBIOS 0x{}",
                hex::encode(reference)
            ),
            Self::ReferenceRemoved { reference } => write!(
                f,
                "there are no reference values for the driver or VBIOS 0x{} any more",
                hex::encode(reference)
            ),
            Self::PoliciesSet => write!(f, "governance decided which evidence is accepted"),
            Self::DeviceBanned { device } => write!(
                f,
                "evidence of device 0x{} is not accepted any more",
                hex::encode(device)
            ),
            Self::DeviceUnbanned { device } => {
                write!(
                    f,
                    "evidence of device 0x{} is accepted again",
                    hex::encode(device)
                )
            }
            Self::MachineCondemned {
                machine,
                device,
                slash,
            } => write!(
                f,
                "machine {machine} brought evidence of device 0x{} that was forged, or relayed from another machine: slash \
                 {slash}",
                hex::encode(device)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use assay_primitives::{attestation::DeviceHash, market::TeeKind};

    use super::*;
    use crate::types::{IntelTee, TcbInfoId};

    const ID: EvidenceId = EvidenceId {
        device: DeviceHash::repeat_byte(0xab),
        kind: TeeKind::SevSnp,
    };

    #[test]
    fn evidence_says_whose_it_is_and_until_when_it_counts() {
        let accepted = AttestationEvent::EvidenceAccepted {
            machine: 7,
            id: ID,
            workload: [0xcd; 32],
            until_s: 1_764_175_200,
        };
        assert_eq!(
            accepted.to_string(),
            format!(
                "evidence of machine 7 counts until 2025-11-26 16:40 UTC: AMD SEV-SNP of device 0x{}, workload 0x{}",
                "ab".repeat(32),
                "cd".repeat(32)
            )
        );
        let expired = AttestationEvent::EvidenceExpired { machine: 7, id: ID };
        assert_eq!(
            expired.to_string(),
            format!(
                "evidence of machine 7 has ended: AMD SEV-SNP of device 0x{}",
                "ab".repeat(32)
            )
        );
        for event in [accepted, expired] {
            assert_eq!((event.machine(), event.job()), (Some(7), None), "{event}");
        }
    }

    #[test]
    fn what_evidence_is_judged_by_has_names() {
        let tcb_info = CollateralId::TcbInfo(TcbInfoId {
            tee: IntelTee::Tdx,
            fmspc: [0x90, 0xc0, 0x6f, 0, 0, 0],
            pce_id: [0, 1],
        });
        for (event, sentence) in [
            (
                AttestationEvent::CollateralRenewed {
                    collateral: tcb_info,
                },
                "newer collateral is there: the TCB info of Intel TDX on processors 90c06f000000 with PCE 0001"
                    .to_owned(),
            ),
            (
                AttestationEvent::CollateralRemoved {
                    collateral: CollateralId::QeIdentity(IntelTee::Sgx),
                },
                "governance removed collateral: the identity of the quoting enclave of Intel SGX".to_owned(),
            ),
            (
                AttestationEvent::CollateralRenewed {
                    collateral: CollateralId::RevocationList([0xab; 32]),
                },
                format!(
                    "newer collateral is there: the list of certificates that issuer 0x{} revoked",
                    "ab".repeat(32)
                ),
            ),
            (
                AttestationEvent::RootAdded {
                    vendor: Vendor::AmdTurin,
                    fingerprint: [0xab; 32],
                },
                format!("AMD Turin's root 0x{} is trusted", "ab".repeat(32)),
            ),
        ] {
            assert_eq!(event.to_string(), sentence);
            assert_eq!((event.machine(), event.job()), (None, None), "{event}");
        }
    }

    #[test]
    fn a_condemned_machine_is_told_what_it_costs() {
        let condemned = AttestationEvent::MachineCondemned {
            machine: 7,
            device: [0xab; 32],
            slash: SlashId {
                due_epoch: 30,
                index: 1,
            },
        };
        assert_eq!(
            condemned.to_string(),
            format!(
                "machine 7 brought evidence of device 0x{} that was forged, or relayed from another machine: slash 30/1",
                "ab".repeat(32)
            )
        );
        assert_eq!(condemned.machine(), Some(7));
    }
}
