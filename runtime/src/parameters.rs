//! Values that governance may change without a new runtime, each with the value it starts from.

use assay_primitives::{
    clock::{EpochIndex, MILLIS_PER_HOUR, Millis},
    money::{ASY, Balance},
};
use pallet_provider_staking::{DEFAULT_OFFENCE_TABLE, OffenceTable};
use polkadot_sdk::{
    frame_support::dynamic_params::{dynamic_pallet_params, dynamic_params},
    pallet_parameters,
    sp_runtime::Permill,
};

use crate::Runtime;

/// The parameters, by pallet.
#[dynamic_params(RuntimeParameters, pallet_parameters::Parameters::<Runtime>)]
pub mod dynamic {
    use super::*;

    /// Of `provider-staking`.
    #[dynamic_pallet_params]
    #[codec(index = 0)]
    pub mod provider_staking {
        /// Least bond of any machine, in plancks, before its class adds its stake for each slot.
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
    }

    /// Of `job-escrow`.
    #[dynamic_pallet_params]
    #[codec(index = 1)]
    pub mod job_escrow {
        /// Share of every payment that is the protocol's.
        #[codec(index = 0)]
        pub static ProtocolFee: Permill = Permill::from_percent(5);

        /// Active time in which a machine must start or decline a job that it was given.
        #[codec(index = 1)]
        pub static StartWindowMs: Millis = MILLIS_PER_HOUR / 6;

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
