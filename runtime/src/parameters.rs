//! Values that governance may change without a runtime upgrade, each with its initial value and its bounds.
//!
//! A value is stored as governance sets it and clamped when a pallet reads it: pallets use [`bounded`], never
//! [`dynamic`]. The pallet that stores the values cannot refuse one; it only checks the origin against the
//! name.

use core::marker::PhantomData;

use assay_primitives::{
    availability::REPORT_WINDOW_EPOCHS,
    clock::{EpochIndex, MILLIS_PER_HOUR, Millis},
    job::{DEFAULT_PROTOCOL_FEE_PPM, DEFAULT_START_WINDOW_MS},
    money::{ASY, Balance, MILLI_ASY},
};
use pallet_provider_staking::{DEFAULT_OFFENCE_TABLE, OffencePenalty, OffenceTable};
use polkadot_sdk::{
    frame_support::{
        dynamic_params::{dynamic_pallet_params, dynamic_params},
        parameter_types,
        traits::{ConstU32, ConstU128, Get},
    },
    pallet_parameters,
    sp_runtime::Permill,
};

use crate::{Runtime, configs::consensus::SLOT_DURATION_MS, hardware_classes::BOND_PER_POINT};

/// Parameter clamped to the range from `Least` to `Most`.
pub struct Clamped<Parameter, Least, Most>(PhantomData<(Parameter, Least, Most)>);

impl<T: Ord, Parameter: Get<T>, Least: Get<T>, Most: Get<T>> Get<T> for Clamped<Parameter, Least, Most> {
    fn get() -> T {
        Parameter::get().max(Least::get()).min(Most::get())
    }
}

/// Number of one-hour epochs in a year.
const YEAR_EPOCHS: EpochIndex = 8_766;

/// Shortest time in which a present party must be able to act, in milliseconds: 20 blocks of full slots.
const LEAST_WINDOW_MS: Millis = 20 * SLOT_DURATION_MS;

/// Longest time for which a party may have to wait for another to act, in milliseconds: a day.
const MOST_WINDOW_MS: Millis = 24 * MILLIS_PER_HOUR;

/// Initial terms of jobs: five per cent of payments for the protocol, ten minutes to start or decline and as
/// many to reveal, a tenth of a running service's earnings held back, and bounties above the fee of a
/// settlement.
pub const DEFAULT_JOB_TERMS: pallet_job_escrow::JobTerms = pallet_job_escrow::JobTerms {
    protocol_fee: Permill::from_parts(DEFAULT_PROTOCOL_FEE_PPM),
    hold_back: Permill::from_percent(10),
    bounty: ASY / 20,
    start_window_ms: DEFAULT_START_WINDOW_MS,
    reveal_window_ms: MILLIS_PER_HOUR / 6,
};

/// Parameters as pallets read them: clamped to their bounds.
pub mod bounded {
    use super::*;

    parameter_types! {
        /// Share of a tenth.
        pub const Tenth: Permill = Permill::from_percent(10);
        /// Share of a half.
        pub const Half: Permill = Permill::from_percent(50);
    }

    /// Least bond of a machine: 1 to 1,000,000 ASY. A machine without anything to lose must not work, and a
    /// bond that nobody can pay ends the market.
    pub type BaseBond =
        Clamped<dynamic::provider_staking::BaseBond, ConstU128<ASY>, ConstU128<{ 1_000_000 * ASY }>>;

    /// Bond for a point of weight: 0.1 to 1,000 ASY. Below, weight in the emission costs nothing; above, an
    /// H100 needs a million ASY.
    pub type BondPerPoint =
        Clamped<dynamic::provider_staking::BondPerPoint, ConstU128<{ ASY / 10 }>, ConstU128<{ 1_000 * ASY }>>;

    /// Locking time of unbonded stake, in epochs: longer than any of the machine's acts can be reported, so
    /// that leaving stake can still be slashed; at most a year, after which a provider has its money back.
    pub type UnbondingEpochs = Clamped<
        dynamic::provider_staking::UnbondingEpochs,
        ConstU32<{ REPORT_WINDOW_EPOCHS + 1 }>,
        ConstU32<YEAR_EPOCHS>,
    >;

    /// Delay of a slash: 1 to 168 epochs. Governance has at least an epoch to cancel a slash, and a harmed
    /// consumer waits a week at most.
    pub type SlashDeferEpochs =
        Clamped<dynamic::provider_staking::SlashDeferEpochs, ConstU32<1>, ConstU32<168>>;

    /// Lifetime of strikes, in epochs: no shorter than [`SlashDeferEpochs`], or cancelling a slash would take
    /// back a strike of another one; at most a year.
    pub type StrikeMemoryEpochs =
        Clamped<dynamic::provider_staking::StrikeMemoryEpochs, SlashDeferEpochs, ConstU32<YEAR_EPOCHS>>;

    /// Penalties within the severity of each offence; see [`clamp_offences`].
    pub struct Offences;

    impl Get<OffenceTable> for Offences {
        fn get() -> OffenceTable {
            clamp_offences(dynamic::provider_staking::Offences::get())
        }
    }

    /// Terms of jobs, each within its bounds; see [`clamp_job_terms`].
    pub struct JobTerms;

    impl Get<pallet_job_escrow::JobTerms> for JobTerms {
        fn get() -> pallet_job_escrow::JobTerms {
            clamp_job_terms(dynamic::job_escrow::JobTerms::get())
        }
    }

    /// Pay of a report: at most 1,000 ASY, so that a mistake does not empty the pot in an epoch; zero turns
    /// the pay off.
    pub type RewardPerReport =
        Clamped<dynamic::availability::RewardPerReport, ConstU128<0>, ConstU128<{ 1_000 * ASY }>>;

    /// Memory of average uptimes: 2 epochs to a year of one-hour epochs. With one, an average is the last
    /// epoch alone; with zero it is undefined.
    pub type UptimeMemoryEpochs =
        Clamped<dynamic::availability::UptimeMemoryEpochs, ConstU32<2>, ConstU32<YEAR_EPOCHS>>;

    /// Returns terms of jobs within their bounds:
    ///
    /// - the protocol's share of payments is at most a half, so that the provider has the greater part;
    /// - the hold-back of a service's pay is at most a half: the rest pays for running it meanwhile;
    /// - the bounty for calls that advance a job is 0.01 to 10 ASY. Below the fee of a settlement nobody
    ///   makes these calls; each job holds the sum of all its possible bounties;
    /// - the time to start or decline is 20 blocks to a day. With less, a present machine cannot start or
    ///   decline in time; with more, an absent one holds a consumer's money for longer;
    /// - the time to reveal is 20 blocks to a day. With less, a present replica cannot reveal in time; with
    ///   more, an absent one keeps its peers unpaid for longer.
    pub fn clamp_job_terms(terms: pallet_job_escrow::JobTerms) -> pallet_job_escrow::JobTerms {
        pallet_job_escrow::JobTerms {
            protocol_fee: terms.protocol_fee.min(Half::get()),
            hold_back: terms.hold_back.min(Half::get()),
            bounty: terms.bounty.clamp(10 * MILLI_ASY, 10 * ASY),
            start_window_ms: terms.start_window_ms.clamp(LEAST_WINDOW_MS, MOST_WINDOW_MS),
            reveal_window_ms: terms.reveal_window_ms.clamp(LEAST_WINDOW_MS, MOST_WINDOW_MS),
        }
    }

    /// Returns a table in which each penalty grows with repetition, by a factor of 1 to 10. It takes
    ///
    /// - for an unanswered challenge at most a tenth the first time, and at most a half: a power cut is no
    ///   fraud;
    /// - for a wrong answer at least a tenth: an answer by other hardware must cost more than it earns;
    /// - for forged evidence at least a half.
    pub fn clamp_offences(table: OffenceTable) -> OffenceTable {
        let clamp = |penalty: OffencePenalty, least: Permill, most_first: Permill, most: Permill| {
            let first = penalty.first.max(least).min(most_first);
            OffencePenalty {
                first,
                factor: penalty.factor.clamp(1, 10),
                at_most: penalty.at_most.max(first).min(most),
            }
        };
        let whole = Permill::one();
        OffenceTable {
            challenge_unanswered: clamp(
                table.challenge_unanswered,
                Permill::zero(),
                Tenth::get(),
                Half::get(),
            ),
            challenge_wrong: clamp(table.challenge_wrong, Tenth::get(), whole, whole),
            forged_evidence: clamp(table.forged_evidence, Half::get(), whole, whole),
        }
    }
}

/// Parameters as governance sets them, by pallet.
#[dynamic_params(RuntimeParameters, pallet_parameters::Parameters::<Runtime>)]
pub mod dynamic {
    use super::*;

    /// Parameters of `provider-staking`.
    #[dynamic_pallet_params]
    #[codec(index = 0)]
    pub mod provider_staking {
        /// Least bond of any machine, in plancks, whatever the weight of its slots.
        #[codec(index = 0)]
        pub static BaseBond: Balance = 500 * ASY;

        /// Whole epochs that unbonded stake stays locked and slashable: a week of one-hour epochs.
        #[codec(index = 1)]
        pub static UnbondingEpochs: EpochIndex = 168;

        /// Penalty of each offence, as a fraction of the bond.
        #[codec(index = 2)]
        pub static Offences: OffenceTable = DEFAULT_OFFENCE_TABLE;

        /// Epochs between an offence and its slash, in which governance may cancel it: a day of one-hour
        /// epochs.
        #[codec(index = 4)]
        pub static SlashDeferEpochs: EpochIndex = 24;

        /// Epochs for which a strike raises the next penalty: thirty days of one-hour epochs.
        #[codec(index = 5)]
        pub static StrikeMemoryEpochs: EpochIndex = 720;

        /// Least plancks to bond for each point of a slot's compute score, in any class.
        #[codec(index = 6)]
        pub static BondPerPoint: Balance = BOND_PER_POINT;
    }

    /// Parameters of `job-escrow`. Indices 0 to 4 are unused: its terms were parameters of their own.
    #[dynamic_pallet_params]
    #[codec(index = 1)]
    pub mod job_escrow {
        /// Terms of jobs, in one value, because an order depends on most of them and each value costs a read.
        #[codec(index = 5)]
        pub static JobTerms: pallet_job_escrow::JobTerms = DEFAULT_JOB_TERMS;
    }

    /// Parameters of `availability`. Index 3 is reserved for attestation. Index 2 is unused: governance's
    /// settings for the hardware challenge differ among chains from genesis on, and are in that pallet's own
    /// storage.
    #[dynamic_pallet_params]
    #[codec(index = 4)]
    pub mod availability {
        /// Reward of a validator's report, in plancks.
        #[codec(index = 0)]
        pub static RewardPerReport: Balance = ASY;

        /// Memory of average uptimes: an epoch weighs one part in so many. A week of one-hour epochs.
        #[codec(index = 1)]
        pub static UptimeMemoryEpochs: u32 = 168;
    }
}

#[cfg(feature = "runtime-benchmarks")]
impl Default for RuntimeParameters {
    fn default() -> Self {
        RuntimeParameters::ProviderStaking(dynamic::provider_staking::Parameters::BaseBond(
            dynamic::provider_staking::BaseBond,
            Some(ASY),
        ))
    }
}
