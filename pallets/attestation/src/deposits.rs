//! Deposits for the bytes that the chain keeps.

use assay_primitives::{machine::MachineId, money::Balance};
use codec::{Encode, MaxEncodedLen};
use polkadot_sdk::{
    frame_support::{
        defensive,
        traits::{Get, fungible::MutateHold, tokens::Precision},
    },
    frame_system::pallet_prelude::BlockNumberFor,
    sp_runtime::DispatchResult,
};

use crate::{Config, DeviceHash, EvidenceId, EvidenceRecord, ExpirySlot, HoldReason};

/// Bytes of the hash before a key of kind `Blake2_128Concat`.
const BLAKE2_128_BYTES: usize = 16;

/// Bytes of the hash before a key of kind `Twox64Concat`.
const TWOX_64_BYTES: usize = 8;

/// Returns the deposit for a number of entries and their bytes, keys included.
fn price<T: Config>(items: u32, bytes: usize) -> Balance {
    let items = T::ItemDeposit::get().saturating_mul(items.into());
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    items.saturating_add(T::ByteDeposit::get().saturating_mul(bytes.into()))
}

/// Returns the deposit for a piece of evidence: for its record, the machine's entry around it, its device's
/// entry and its entry in the agenda.
pub(crate) fn of_evidence<T: Config>() -> Balance {
    let machine = MachineId::max_encoded_len();
    let id = EvidenceId::max_encoded_len();
    let around = TWOX_64_BYTES + machine + T::AccountId::max_encoded_len() + 4;
    let record = EvidenceRecord::<BlockNumberFor<T>>::max_encoded_len();
    let device = BLAKE2_128_BYTES + DeviceHash::max_encoded_len() + machine;
    let agenda = TWOX_64_BYTES + ExpirySlot::max_encoded_len() + BLAKE2_128_BYTES + machine + id;
    price::<T>(3, around + record + device + agenda)
}

/// Returns the deposit for a record under a hashed key.
pub(crate) fn of_record<T: Config>(key: &impl Encode, record: &impl Encode) -> Balance {
    price::<T>(1, BLAKE2_128_BYTES + key.encoded_size() + record.encoded_size())
}

pub(crate) fn hold<T: Config>(reason: HoldReason, who: &T::AccountId, amount: Balance) -> DispatchResult {
    T::Currency::hold(&reason.into(), who, amount)
}

pub(crate) fn release<T: Config>(reason: HoldReason, who: &T::AccountId, amount: Balance) {
    if T::Currency::release(&reason.into(), who, amount, Precision::Exact).is_err() {
        // Only this pallet changes holds of its reasons, and it records their amounts.
        defensive!("a deposit is not held");
    }
}
