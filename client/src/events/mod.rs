//! Events of a block, typed, and in plain words.
//!
//! Each pallet's events are an enum of their own, because a name such as `UptimeUpdated` is not one pallet's
//! alone; [`AssayEvent`] is any of them.

mod attestation;
mod availability;
mod challenge;
mod clock;
mod emission;
mod escrow;
mod finality;
mod registry;
mod staking;
mod text;

use std::fmt;

use assay_primitives::machine::MachineId;
use scale_decode::{DecodeAsType, error::ErrorKind};
use serde::Serialize;
use subxt::{Metadata, SubstrateConfig, events::Event};

pub use attestation::AttestationEvent;
pub use availability::AvailabilityEvent;
pub use challenge::{ChallengeEvent, RoundOutcome, Tally};
pub use clock::ClockEvent;
pub use emission::EmissionEvent;
pub use escrow::EscrowEvent;
pub use finality::FinalityEvent;
pub use registry::RegistryEvent;
pub use staking::StakingEvent;

use crate::{error::Error, types::JobId};

/// Declares [`AssayEvent`] and everything that lists its pallets, so that a pallet is added in one place.
///
/// Each pallet has its name in the chain's metadata.
macro_rules! events_by_pallet {
    ($($(#[$documentation:meta])* $pallet:ident($event:ident)),+ $(,)?) => {
        /// Pallets whose events are [`AssayEvent`]s.
        pub const PALLETS: [&str; [$(stringify!($pallet)),+].len()] = [$(stringify!($pallet)),+];

        /// An event of one of Assay's pallets.
        ///
        /// Displays as a sentence in plain words. In JSON it is one flat object: `pallet` is the pallet's
        /// name, `event` the event's, which may be another pallet's too, and the event's fields are beside
        /// them; [`crate::json`] writes it with names in snake_case.
        #[derive(Clone, PartialEq, Eq, Debug, Serialize)]
        #[serde(tag = "pallet")]
        #[non_exhaustive]
        pub enum AssayEvent {
            $($(#[$documentation])* $pallet($event)),+
        }

        impl AssayEvent {
            /// Returns the machine that the event is about, if any.
            pub fn machine(&self) -> Option<MachineId> {
                match self {
                    $(Self::$pallet(event) => event.machine()),+
                }
            }

            /// Returns the job that the event is about.
            pub fn job(&self) -> Option<JobId> {
                match self {
                    $(Self::$pallet(event) => event.job()),+
                }
            }

            /// Decodes a variant of a type as an event of a pallet; `None` where the pallet is none of
            /// [`PALLETS`], or has no event of that name here.
            pub(crate) fn decode_as(
                pallet: &str,
                bytes: &[u8],
                type_id: u32,
                metadata: &Metadata,
            ) -> Result<Option<Self>, scale_decode::Error> {
                match pallet {
                    $(stringify!($pallet) => {
                        Ok(decode_known::<$event>(bytes, type_id, metadata)?.map(Self::$pallet))
                    })+
                    _ => Ok(None),
                }
            }
        }

        impl fmt::Display for AssayEvent {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$pallet(event) => fmt::Display::fmt(event, f)),+
                }
            }
        }

        $(impl From<$event> for AssayEvent {
            fn from(event: $event) -> Self {
                Self::$pallet(event)
            }
        })+
    };
}

events_by_pallet! {
    /// The epochs.
    ChainClock(ClockEvent),
    /// Providers, machines and hardware classes.
    ProviderRegistry(RegistryEvent),
    /// Bonds and slashes.
    ProviderStaking(StakingEvent),
    /// Jobs and their money.
    JobEscrow(EscrowEvent),
    /// Rewards.
    RewardEmission(EmissionEvent),
    /// Proofs of hardware.
    HardwareChallenge(ChallengeEvent),
    /// Evidence of TEEs and GPUs.
    Attestation(AttestationEvent),
    /// The validators' watch over the machines.
    Availability(AvailabilityEvent),
    /// The chain's view of its own finality.
    FinalityView(FinalityEvent),
}

impl AssayEvent {
    /// Reads an event of a block; `None` if it belongs to another pallet, or if this client does not know it
    /// (yet).
    pub(crate) fn read(
        event: &Event<'_, SubstrateConfig>,
        metadata: &Metadata,
    ) -> Result<Option<Self>, Error> {
        let mut bytes = vec![event.event_index()];
        bytes.extend_from_slice(event.field_bytes());
        Self::decode(event.pallet_name(), event.event_name(), &bytes, metadata)
    }

    /// Decodes an event from the number of its variant and its fields; `name` is for the error.
    pub(crate) fn decode(
        pallet: &str,
        name: &str,
        bytes: &[u8],
        metadata: &Metadata,
    ) -> Result<Option<Self>, Error> {
        if !PALLETS.contains(&pallet) {
            return Ok(None);
        }
        let incompatible = |reason: String| Error::Incompatible {
            reason: format!("event {pallet}::{name}: {reason}"),
        };
        let type_id = metadata
            .pallet_by_name(pallet)
            .and_then(|pallet| pallet.event_ty_id())
            .ok_or_else(|| incompatible("its type is missing".to_owned()))?;
        Self::decode_as(pallet, bytes, type_id, metadata).map_err(|error| incompatible(error.to_string()))
    }
}

/// Decodes a variant of an enum; `None` where this client's enum has none of that name.
fn decode_known<T: DecodeAsType>(
    mut bytes: &[u8],
    type_id: u32,
    metadata: &Metadata,
) -> Result<Option<T>, scale_decode::Error> {
    match T::decode_as_type(&mut bytes, type_id, metadata.types()) {
        Ok(known) => Ok(Some(known)),
        Err(error) if matches!(error.kind(), ErrorKind::CannotFindVariant { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use assay_primitives::market::TeeKind;

    use super::*;
    use crate::types::{CollateralId, EvidenceId, IntelTee, TcbInfoId, Vendor};

    fn json(event: impl Into<AssayEvent>) -> String {
        crate::json::to_value(&event.into()).unwrap().to_string()
    }

    #[test]
    fn events_of_one_name_are_told_apart_by_their_pallets() {
        let told = AssayEvent::from(RegistryEvent::UptimeUpdated {
            machine: 7,
            uptime_ppm: 995_000,
        });
        let averaged = AssayEvent::from(AvailabilityEvent::UptimeUpdated {
            machine: 7,
            first_epoch: 3,
            last_epoch: 5,
            average_ppm: 995_000,
        });
        assert_ne!(told, averaged);
        assert_eq!(
            json(told.clone()),
            r#"{"pallet":"provider_registry","event":"uptime_updated","machine":7,"uptime_ppm":995000}"#
        );
        assert_eq!(
            json(averaged.clone()),
            r#"{"pallet":"availability","event":"uptime_updated","machine":7,"first_epoch":3,"last_epoch":5,"average_ppm":995000}"#
        );
        for event in [told, averaged] {
            assert_eq!((event.machine(), event.job()), (Some(7), None));
        }
    }

    #[test]
    fn an_event_is_one_flat_object() {
        assert_eq!(
            json(EscrowEvent::PaymentSettled {
                job: 3,
                machine: 7,
                provider_amount: 950_000_000_000,
                fee: 50_000_000_000,
                burned: 25_000_000_000,
            }),
            r#"{"pallet":"job_escrow","event":"payment_settled","job":3,"machine":7,"provider_amount":"950000000000","fee":"50000000000","burned":"25000000000"}"#
        );
        assert_eq!(
            json(AttestationEvent::PoliciesSet),
            r#"{"pallet":"attestation","event":"policies_set"}"#
        );
        assert_eq!(
            json(ChallengeEvent::ScheduleSet {}),
            r#"{"pallet":"hardware_challenge","event":"schedule_set"}"#
        );
    }

    #[test]
    fn digests_are_hexadecimal_and_amounts_decimal() {
        let digits = "ab".repeat(32);
        assert_eq!(
            json(AttestationEvent::EvidenceAccepted {
                machine: 7,
                id: EvidenceId {
                    device: [0xab; 32].into(),
                    kind: TeeKind::SevSnp,
                },
                workload: [0xab; 32],
                until_s: 600,
            }),
            format!(
                r#"{{"pallet":"attestation","event":"evidence_accepted","machine":7,"id":{{"device":"0x{digits}","kind":"sev_snp"}},"workload":"0x{digits}","until_s":600}}"#
            )
        );
        assert_eq!(
            json(AttestationEvent::CollateralRenewed {
                collateral: CollateralId::TcbInfo(TcbInfoId {
                    tee: IntelTee::Tdx,
                    fmspc: [0x90, 0xc0, 0x6f, 0, 0, 0],
                    pce_id: [0, 1],
                }),
            }),
            r#"{"pallet":"attestation","event":"collateral_renewed","collateral":{"tcb_info":{"tee":"tdx","fmspc":"0x90c06f000000","pce_id":"0x0001"}}}"#
        );
        assert_eq!(
            json(AttestationEvent::CollateralRemoved {
                collateral: CollateralId::RevocationList([0xab; 32]),
            }),
            format!(
                r#"{{"pallet":"attestation","event":"collateral_removed","collateral":{{"revocation_list":"0x{digits}"}}}}"#
            )
        );
        assert_eq!(
            json(AttestationEvent::RootAdded {
                vendor: Vendor::AmdTurin,
                fingerprint: [0xab; 32],
            }),
            format!(
                r#"{{"pallet":"attestation","event":"root_added","vendor":"amd_turin","fingerprint":"0x{digits}"}}"#
            )
        );
        let claimed = crate::json::to_value(&AssayEvent::from(AvailabilityEvent::RewardClaimed {
            validator: crate::AccountId::from([1; 32]),
            amount: u128::MAX,
            left: 0,
        }))
        .unwrap();
        assert_eq!(claimed["amount"], u128::MAX.to_string());
        assert_eq!(claimed["left"], "0");
    }

    #[test]
    fn an_event_reads_as_its_pallet_s_sentence() {
        let event = EscrowEvent::JobStarted {
            job: 3,
            machine: 7,
            started_at_ms: 1,
        };
        let any = AssayEvent::from(event.clone());
        assert_eq!(any.to_string(), event.to_string());
        assert_eq!(any.to_string(), "job 3 runs on machine 7");
        assert_eq!((any.job(), any.machine()), (Some(3), Some(7)));
    }
}
