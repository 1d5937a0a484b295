//! Values that governance may change without a new runtime, each with the value it starts from and its
//! bounds.
//!
//! A value is stored as governance sets it and clamped when a pallet reads it: pallets take theirs from
//! [`bounded`], never from [`dynamic`]. The pallet that stores them offers no place to refuse a value, only
//! an origin that sees its name.

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
        traits::{ConstU32, ConstU64, ConstU128, Get},
    },
    pallet_parameters,
    sp_runtime::Permill,
};

use crate::{Runtime, configs::consensus::SLOT_DURATION_MS, hardware_classes::BOND_PER_POINT};

/// Value of a parameter, but at least `Least` and at most `Most`.
pub struct Clamped<Parameter, Least, Most>(PhantomData<(Parameter, Least, Most)>);

impl<T: Ord, Parameter: Get<T>, Least: Get<T>, Most: Get<T>> Get<T> for Clamped<Parameter, Least, Most> {
    fn get() -> T {
        Parameter::get().max(Least::get()).min(Most::get())
    }
}

/// A year of one-hour epochs.
const YEAR_EPOCHS: EpochIndex = 8_766;

/// Shortest time in which a party that is there must be able to act: 20 blocks of full slots.
const LEAST_WINDOW_MS: Millis = 20 * SLOT_DURATION_MS;

/// Longest time for which one party may have to wait for another to act.
const MOST_WINDOW_MS: Millis = 24 * MILLIS_PER_HOUR;

/// The parameters as pallets read them: clamped to their bounds.
pub mod bounded {
    use super::*;

    parameter_types! {
        /// A share of nothing.
        pub const Nothing: Permill = Permill::zero();
        /// A tenth.
        pub const Tenth: Permill = Permill::from_percent(10);
        /// A half.
        pub const Half: Permill = Permill::from_percent(50);
    }

    /// Least bond of a machine: 1 to 1,000,000 ASY. A machine that has nothing to lose must not work, and a
    /// bond that nobody has ends the market.
    pub type BaseBond =
        Clamped<dynamic::provider_staking::BaseBond, ConstU128<ASY>, ConstU128<{ 1_000_000 * ASY }>>;

    /// Bond of a point of weight: 0.1 to 1,000 ASY. Below, weight in the emission costs nothing to have;
    /// above, an H100 asks for a million ASY.
    pub type BondPerPoint =
        Clamped<dynamic::provider_staking::BondPerPoint, ConstU128<{ ASY / 10 }>, ConstU128<{ 1_000 * ASY }>>;

    /// Wait for unbonded stake: longer than anything that a machine did stays open to reports, so that what
    /// is on its way out can still be lost for it; at most a year, after which a provider has its money back.
    pub type UnbondingEpochs = Clamped<
        dynamic::provider_staking::UnbondingEpochs,
        ConstU32<{ REPORT_WINDOW_EPOCHS + 1 }>,
        ConstU32<YEAR_EPOCHS>,
    >;

    /// Wait for a slash: 1 to 168 epochs. Governance has an epoch at least to cancel a slash, and a harmed
    /// consumer waits a week at most.
    pub type SlashDeferEpochs =
        Clamped<dynamic::provider_staking::SlashDeferEpochs, ConstU32<1>, ConstU32<168>>;

    /// Memory of strikes: no shorter than [`SlashDeferEpochs`], or cancelling a slash takes back a strike of
    /// another one; at most a year.
    pub type StrikeMemoryEpochs =
        Clamped<dynamic::provider_staking::StrikeMemoryEpochs, SlashDeferEpochs, ConstU32<YEAR_EPOCHS>>;

    /// Penalties within what each offence proves; see [`clamp_offences`].
    pub struct Offences;

    impl Get<OffenceTable> for Offences {
        fn get() -> OffenceTable {
            clamp_offences(dynamic::provider_staking::Offences::get())
        }
    }

    /// Share of payments that is the protocol's: at most a half. Who works has the greater part of what is
    /// paid.
    pub type ProtocolFee = Clamped<dynamic::job_escrow::ProtocolFee, Nothing, Half>;

    /// Time to start or decline: 20 blocks to a day. With less, a machine that is there cannot start or
    /// decline in time; with more, one that is not holds a consumer's money for longer.
    pub type StartWindowMs =
        Clamped<dynamic::job_escrow::StartWindowMs, ConstU64<LEAST_WINDOW_MS>, ConstU64<MOST_WINDOW_MS>>;

    /// Time to reveal: 20 blocks to a day. With less, a replica that is there cannot reveal in time; with
    /// more, one that is not keeps its peers unpaid for longer.
    pub type RevealWindowMs =
        Clamped<dynamic::job_escrow::RevealWindowMs, ConstU64<LEAST_WINDOW_MS>, ConstU64<MOST_WINDOW_MS>>;

    /// Share of a service's pay that is held back: at most a half. The rest pays for running it meanwhile.
    pub type HoldBack = Clamped<dynamic::job_escrow::HoldBack, Nothing, Half>;

    /// Bounty of who keeps a job going: 0.01 to 10 ASY. Below the fee of a settlement nobody keeps a job
    /// going; each job holds as much as all of its bounties can be.
    pub type Bounty =
        Clamped<dynamic::job_escrow::Bounty, ConstU128<{ 10 * MILLI_ASY }>, ConstU128<{ 10 * ASY }>>;

    /// Pay of a report: at most 1,000 ASY, so that a slip does not empty the pot in an epoch; nothing where
    /// reports are not paid for.
    pub type RewardPerReport =
        Clamped<dynamic::availability::RewardPerReport, ConstU128<0>, ConstU128<{ 1_000 * ASY }>>;

    /// Memory of average uptimes: 2 epochs to a year of one-hour epochs. With one, an average is the last
    /// epoch alone, and with none it is not defined.
    pub type UptimeMemoryEpochs =
        Clamped<dynamic::availability::UptimeMemoryEpochs, ConstU32<2>, ConstU32<YEAR_EPOCHS>>;

    /// Returns a table in which each penalty grows from time to time, by a factor of 1 to 10, and which takes
    ///
    /// - for a challenge that was not answered at most a tenth the first time, and a half at most: a power
    ///   cut is no fraud;
    /// - for one that was answered wrongly at least a tenth: an answer by other hardware must cost more than
    ///   it earns;
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
                Nothing::get(),
                Tenth::get(),
                Half::get(),
            ),
            challenge_wrong: clamp(table.challenge_wrong, Tenth::get(), whole, whole),
            forged_evidence: clamp(table.forged_evidence, Half::get(), whole, whole),
        }
    }
}

/// The parameters as governance sets them, by pallet.
#[dynamic_params(RuntimeParameters, pallet_parameters::Parameters::<Runtime>)]
pub mod dynamic {
    use super::*;

    /// Of `provider-staking`.
    #[dynamic_pallet_params]
    #[codec(index = 0)]
    pub mod provider_staking {
        /// Least bond of any machine, in plancks, however little its slots weigh.
        #[codec(index = 0)]
        pub static BaseBond: Balance = 500 * ASY;

        /// Whole epochs that unbonded stake stays locked and slashable: a week of one-hour epochs.
        #[codec(index = 1)]
        pub static UnbondingEpochs: EpochIndex = 168;

        /// What each offence costs, as fractions of the bond.
        #[codec(index = 2)]
        pub static Offences: OffenceTable = DEFAULT_OFFENCE_TABLE;

        /// Epochs between an offence and its slash, in which governance may cancel it: a day of one-hour epochs.
        #[codec(index = 4)]
        pub static SlashDeferEpochs: EpochIndex = 24;

        /// Epochs for which a strike makes the next one dearer: thirty days of one-hour epochs.
        #[codec(index = 5)]
        pub static StrikeMemoryEpochs: EpochIndex = 720;

        /// Least plancks to be bonded for each point of a slot's compute score, whatever its class.
        #[codec(index = 6)]
        pub static BondPerPoint: Balance = BOND_PER_POINT;
    }

    /// Of `job-escrow`.
    #[dynamic_pallet_params]
    #[codec(index = 1)]
    pub mod job_escrow {
        /// Share of every payment that is the protocol's.
        #[codec(index = 0)]
        pub static ProtocolFee: Permill = Permill::from_parts(DEFAULT_PROTOCOL_FEE_PPM);

        /// Active time in which a machine must start or decline a job that it was given.
        #[codec(index = 1)]
        pub static StartWindowMs: Millis = DEFAULT_START_WINDOW_MS;

        /// Active time in which replicas must reveal the results that they committed to.
        #[codec(index = 2)]
        pub static RevealWindowMs: Millis = MILLIS_PER_HOUR / 6;

        /// Share of what a running service earned that is held back until it ended.
        #[codec(index = 3)]
        pub static HoldBack: Permill = Permill::from_percent(10);

        /// What who keeps a job going is paid for it, in plancks: above the fee of a settlement.
        #[codec(index = 4)]
        pub static Bounty: Balance = ASY / 20;
    }

    /// Of `availability`. Three is kept for attestation. Two is not used: what governance decides of the hardware
    /// challenge differs among chains from genesis on, and is in that pallet's own storage.
    #[dynamic_pallet_params]
    #[codec(index = 4)]
    pub mod availability {
        /// What a validator's report earns, in plancks.
        #[codec(index = 0)]
        pub static RewardPerReport: Balance = ASY;

        /// The memory of average uptimes: an epoch weighs one part in so many. A week of one-hour epochs.
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
