//! Machines and the order in which the market shows them: two storages that always change together.
//!
//! A machine that is on offer has two entries in [`Offers`], one under its class and region and one under its class
//! and the whole world. An entry's key is laid out so that the order of keys is the order of offers:
//!
//! ```text
//! class (2) · region (16; zeros: the whole world) · uptime bucket (1; 0 is best) · ask (16) · machine (8)
//! ```
//!
//! The ask in a key is the one that was announced: a raise holds [`Config::AskRaiseDelayMs`] later, and the
//! machine takes its lower place at once. So the order never shows a machine as cheaper than it will be, and
//! for no longer than the delay as dearer than it is; a search with a highest price may pass it over
//! meanwhile.
//!
//! Integers are big-endian and nothing is hashed, so walking a prefix from any place yields the next best offers, and
//! the first page costs a page whatever the size of the network. The last three parts are a machine's
//! [`Rank`](rank): the same for both entries, and a place in the order when classes are merged.

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

/// Least average uptimes of the buckets in parts per million, best first; what is below the last is in one more.
const UPTIME_BUCKETS_PPM: [u32; 9] = [
    999_900, 999_000, 995_000, 990_000, 980_000, 950_000, 900_000, 750_000, 500_000,
];

/// Bytes of a storage prefix: twice 128 bits of hash.
const PREFIX_BYTES: usize = 32;

/// Where offers are looked for: two bytes of class, sixteen of region.
const SCOPE_BYTES: usize = 2 + MAX_REGION_BYTES as usize;

/// Key of an entry in [`Offers`]; encodes to itself.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct OfferKey {
    /// The class, big-endian.
    pub class: [u8; 2],
    /// The region's code, filled up with zeros; nothing but zeros for the whole world.
    pub region: [u8; MAX_REGION_BYTES as usize],
    /// The machine's rank.
    pub rank: [u8; CURSOR_BYTES],
}

/// The bucket of an average uptime; zero is best.
pub(crate) fn uptime_bucket(uptime_ppm: u32) -> u8 {
    let better = UPTIME_BUCKETS_PPM
        .iter()
        .take_while(|least| uptime_ppm < **least)
        .count();
    // At most nine.
    u8::try_from(better).unwrap_or(u8::MAX)
}

/// A machine's place in the order of offers.
pub(crate) fn rank(uptime_bucket: u8, ask: Balance, machine: MachineId) -> Cursor {
    let mut bytes = [0; CURSOR_BYTES];
    let (bucket, rest) = bytes.split_at_mut(1);
    let (price, id) = rest.split_at_mut(16);
    bucket.copy_from_slice(&[uptime_bucket]);
    price.copy_from_slice(&ask.to_be_bytes());
    id.copy_from_slice(&machine.to_be_bytes());
    Cursor(bytes)
}

/// The parts of a rank: uptime bucket, ask and machine.
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

/// The last rank before everything in a bucket.
pub(crate) fn before_bucket(uptime_bucket: u8) -> Cursor {
    // No ask is zero, so nobody has this rank.
    rank(uptime_bucket, 0, 0)
}

/// A region as it stands in keys.
fn region_bytes(region: &[u8]) -> [u8; MAX_REGION_BYTES as usize] {
    let mut bytes = [0; MAX_REGION_BYTES as usize];
    for (to, from) in bytes.iter_mut().zip(region) {
        *to = *from;
    }
    bytes
}

/// The two entries of a machine that is on offer, otherwise none.
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

/// Owner of the machines' records and of the entries that follow from them. Nothing else writes either.
pub(crate) struct MachineBook<T>(PhantomData<T>);

impl<T: Config> MachineBook<T> {
    /// Writes a machine's record, and its entries where they changed: four writes at most. Notes in the
    /// record when a lease ended or the machine left the market, whoever brought that about.
    ///
    /// The challenge hears first of every change in what it may ask of the machine.
    pub(crate) fn put(machine: MachineId, record: &mut MachineRecordOf<T>) {
        let before = Machines::<T>::get(machine);
        Self::replace(machine, before.as_ref(), record);
    }

    /// Does the same as [`Self::put`] for a caller that has read the record which is stored now.
    pub(crate) fn replace(
        machine: MachineId,
        before: Option<&MachineRecordOf<T>>,
        record: &mut MachineRecordOf<T>,
    ) {
        if let Some(before) = before {
            // The clock is asked only where it matters: most of what is written is neither.
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

/// Walks the offers of one class in one region, or in the whole world, in their order.
pub(crate) struct OfferWalk {
    /// Storage prefix, class and region.
    prefix: [u8; PREFIX_BYTES + SCOPE_BYTES],
    /// The next offer's rank; `None` after the last.
    head: Option<Cursor>,
}

impl OfferWalk {
    /// Starts with the first offer, or the first after a rank.
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

    /// The next offer's rank.
    pub(crate) fn head(&self) -> Option<&Cursor> {
        self.head.as_ref()
    }

    /// Goes on to the first offer after a rank.
    pub(crate) fn seek(&mut self, after: &Cursor) {
        let mut key = [0; PREFIX_BYTES + SCOPE_BYTES + CURSOR_BYTES];
        for (to, from) in key.iter_mut().zip(self.prefix.iter().chain(&after.0)) {
            *to = *from;
        }
        self.head = self.next_after(&key);
    }

    /// Nothing more is wanted.
    pub(crate) fn end(&mut self) {
        self.head = None;
    }

    fn next_after(&self, key: &[u8]) -> Option<Cursor> {
        let next = sp_io::storage::next_key(key)?;
        let rank = next.strip_prefix(self.prefix.as_slice())?;
        Some(Cursor(rank.try_into().ok()?))
    }
}
