//! Records of machines, and the index of offers in the order in which the market shows them: two storages
//! that always change together.
//!
//! A machine on offer has two entries in [`Offers`], one under its class and region and one under its class
//! and the whole world. The layout of the keys makes their order the order of offers:
//!
//! ```text
//! class (2) · region (16; zeros: the whole world) · uptime bucket (1; 0 is best) · ask (16) · machine (8)
//! ```
//!
//! The ask in a key is the announced one: a raise is valid [`Config::AskRaiseDelayMs`] later, but the machine
//! takes its lower rank at once. So the order never shows a machine as cheaper than it will be, and shows it
//! as dearer than it is for no longer than the delay; a search with a maximum price may pass it over
//! meanwhile.
//!
//! Integers are big-endian and keys are not hashed, so iterating a prefix from any key yields the next best
//! offers, and the work for the first page does not depend on the size of the network. The last three parts
//! are a machine's [`Rank`](rank): the same in both entries, and its position when classes are merged.

use core::marker::PhantomData;

use assay_primitives::{
    clock::ActiveClock,
    machine::{HardwareClassId, HardwareProofs, MAX_REGION_BYTES, MachineId},
    market::{CURSOR_BYTES, Cursor},
    money::Balance,
};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use polkadot_sdk::{frame_support::storage::StoragePrefixedMap, sp_io};
use scale_info::TypeInfo;

use crate::{Config, MachineRecordOf, Machines, Offers};

/// Minimum average uptimes of the buckets in parts per million, best first; one more bucket is below the
/// last.
const UPTIME_BUCKETS_PPM: [u32; 9] = [
    999_900, 999_000, 995_000, 990_000, 980_000, 950_000, 900_000, 750_000, 500_000,
];

/// Bytes of a storage prefix: two hashes of 128 bits.
const PREFIX_BYTES: usize = 32;

/// Bytes of a search's scope: two of the class, sixteen of the region.
const SCOPE_BYTES: usize = 2 + MAX_REGION_BYTES as usize;

/// Key of an entry in [`Offers`]; encodes to itself.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct OfferKey {
    /// Class, big-endian.
    pub class: [u8; 2],
    /// Region code, padded with zeros; all zeros for the whole world.
    pub region: [u8; MAX_REGION_BYTES as usize],
    /// Rank of the machine.
    pub rank: [u8; CURSOR_BYTES],
}

/// Returns the bucket of an average uptime; zero is best.
pub(crate) fn uptime_bucket(uptime_ppm: u32) -> u8 {
    let better = UPTIME_BUCKETS_PPM
        .iter()
        .take_while(|least| uptime_ppm < **least)
        .count();
    // At most nine.
    u8::try_from(better).unwrap_or(u8::MAX)
}

/// Returns a machine's rank: its position in the order of offers.
pub(crate) fn rank(uptime_bucket: u8, ask: Balance, machine: MachineId) -> Cursor {
    let mut bytes = [0; CURSOR_BYTES];
    let (bucket, rest) = bytes.split_at_mut(1);
    let (price, id) = rest.split_at_mut(16);
    bucket.copy_from_slice(&[uptime_bucket]);
    price.copy_from_slice(&ask.to_be_bytes());
    id.copy_from_slice(&machine.to_be_bytes());
    Cursor(bytes)
}

/// Splits a rank into uptime bucket, ask and machine.
pub(crate) fn parts(rank: &Cursor) -> (u8, Balance, MachineId) {
    let (mut ask, mut machine) = ([0; 16], [0; 8]);
    let (bucket, rest) = rank.0.split_at(1);
    let (price, id) = rest.split_at(16);
    ask.copy_from_slice(price);
    machine.copy_from_slice(id);
    (
        bucket.first().copied().unwrap_or(u8::MAX),
        Balance::from_be_bytes(ask),
        MachineId::from_be_bytes(machine),
    )
}

/// Returns the rank just before all offers of a bucket.
pub(crate) fn before_bucket(uptime_bucket: u8) -> Cursor {
    // No ask is zero, so no machine has this rank.
    rank(uptime_bucket, 0, 0)
}

/// Returns a region code as keys contain it.
fn region_bytes(region: &[u8]) -> [u8; MAX_REGION_BYTES as usize] {
    let mut bytes = [0; MAX_REGION_BYTES as usize];
    for (to, from) in bytes.iter_mut().zip(region) {
        *to = *from;
    }
    bytes
}

/// Returns the two keys of a machine on offer; `None` for any other machine.
pub(crate) fn keys<T: Config>(machine: MachineId, record: &MachineRecordOf<T>) -> Option<[OfferKey; 2]> {
    record.is_on_offer().then(|| {
        let rank = rank(uptime_bucket(record.uptime_ppm), record.announced_ask(), machine).0;
        let class = record.class.to_be_bytes();
        [record.region.as_slice(), &[]].map(|region| OfferKey {
            class,
            region: region_bytes(region),
            rank,
        })
    })
}

/// Owner of the machines' records and of their entries in the index of offers. Nothing else writes either.
pub(crate) struct MachineBook<T>(PhantomData<T>);

impl<T: Config> MachineBook<T> {
    /// Writes a machine's record, and its entries if they changed: four writes at most. Sets
    /// `last_duty_epoch` if a lease ended or the machine left the market, for any reason.
    ///
    /// The hardware challenge is informed before every change of the machine's exposure.
    pub(crate) fn put(machine: MachineId, record: &mut MachineRecordOf<T>) {
        let before = Machines::<T>::get(machine);
        Self::replace(machine, before.as_ref(), record);
    }

    /// Does the same as [`Self::put`] for a caller that has read the stored record.
    pub(crate) fn replace(
        machine: MachineId,
        before: Option<&MachineRecordOf<T>>,
        record: &mut MachineRecordOf<T>,
    ) {
        if let Some(before) = before {
            // The clock is read only if needed: most writes end no duty.
            if record.gave_up_duty(before) {
                record.last_duty_epoch = Some(T::Clock::current_epoch());
            }
            if before.exposure() != record.exposure() {
                T::HardwareProofs::before_exposure_change(machine, before.exposure());
            }
        }
        let before = before.and_then(|record| keys::<T>(machine, record));
        Self::change(before, keys::<T>(machine, record));
        Machines::<T>::insert(machine, record);
    }

    /// Removes a machine's record and its entries.
    pub(crate) fn remove(machine: MachineId) {
        if let Some(record) = Machines::<T>::take(machine) {
            Self::change(keys::<T>(machine, &record), None);
        }
    }

    fn change(before: Option<[OfferKey; 2]>, after: Option<[OfferKey; 2]>) {
        if before == after {
            return;
        }
        for key in before.into_iter().flatten() {
            Offers::<T>::remove(key);
        }
        for key in after.into_iter().flatten() {
            Offers::<T>::insert(key, ());
        }
    }
}

/// Iterator over the offers of one class in one region, or in the whole world, in their order.
pub(crate) struct OfferWalk {
    /// Storage prefix, class and region.
    prefix: [u8; PREFIX_BYTES + SCOPE_BYTES],
    /// Rank of the next offer; `None` after the last.
    head: Option<Cursor>,
}

impl OfferWalk {
    /// Returns a walk that starts with the first offer, or the first after a rank.
    pub(crate) fn new<T: Config>(
        class: HardwareClassId,
        region: Option<&[u8]>,
        after: Option<&Cursor>,
    ) -> Self {
        let storage = Offers::<T>::final_prefix();
        let class = class.to_be_bytes();
        let region = region_bytes(region.unwrap_or_default());
        let mut prefix = [0; PREFIX_BYTES + SCOPE_BYTES];
        for (to, from) in prefix.iter_mut().zip(storage.iter().chain(&class).chain(&region)) {
            *to = *from;
        }
        let mut walk = Self { prefix, head: None };
        match after {
            Some(after) => walk.seek(after),
            None => walk.head = walk.next_after(&walk.prefix),
        }
        walk
    }

    /// Returns the next offer's rank.
    pub(crate) fn head(&self) -> Option<&Cursor> {
        self.head.as_ref()
    }

    /// Moves to the first offer after a rank.
    pub(crate) fn seek(&mut self, after: &Cursor) {
        let mut key = [0; PREFIX_BYTES + SCOPE_BYTES + CURSOR_BYTES];
        for (to, from) in key.iter_mut().zip(self.prefix.iter().chain(&after.0)) {
            *to = *from;
        }
        self.head = self.next_after(&key);
    }

    /// Ends the walk: no further offer is needed.
    pub(crate) fn end(&mut self) {
        self.head = None;
    }

    fn next_after(&self, key: &[u8]) -> Option<Cursor> {
        let next = sp_io::storage::next_key(key)?;
        let rank = next.strip_prefix(self.prefix.as_slice())?;
        Some(Cursor(rank.try_into().ok()?))
    }
}
