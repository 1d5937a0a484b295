//! Search for the best offers, without reading the others.
//!
//! The search merges one walk for each class that can meet the requirements, by rank. A walk skips offers
//! that its order rules out: the rest of a bucket once asks are above the maximum price, and everything once
//! uptimes are too low. For the other requirements it reads machines one by one, a bounded number for each
//! page.

use alloc::{collections::BTreeMap, vec::Vec};

use assay_primitives::{
    machine::HardwareClassId,
    market::{
        Cursor, FindError, Gap, MAX_PAGE_OFFERS, MAX_PASSED_OVER, Mismatch, OfferPage, PassedOver,
        Requirements,
    },
};

use crate::{
    Config, HardwareClassIds, HardwareClassRecord, HardwareClasses, Machines, MachinesByProvider, Pallet,
    offers::{self, OfferWalk},
};

/// Maximum number of machines that a page reads, plus those of the last one's provider: see
/// [`MAX_PROVIDER_MACHINES`].
pub(crate) const MAX_LOOKED_AT: usize = 500;

/// Maximum number of machines of one provider that are read to find enough of them; further machines of a
/// larger provider are not counted.
pub(crate) const MAX_PROVIDER_MACHINES: usize = 256;

impl<T: Config> Pallet<T> {
    /// Returns a page of offers; see [`assay_primitives::api::ComputeMarketApi`].
    pub fn find_machines(
        requirements: &Requirements,
        limit: u32,
        cursor: Option<Cursor>,
    ) -> Result<OfferPage<T::AccountId>, FindError> {
        if !(1..=MAX_PAGE_OFFERS).contains(&limit) {
            return Err(FindError::BadLimit);
        }
        Self::check_requirements(requirements)?;
        Ok(Search::<T>::new(requirements, cursor).page(limit))
    }

    /// Returns the mismatch of a provider with too few machines that meet the other requirements, and the
    /// number of machines read.
    pub(crate) fn nodes_mismatch(
        requirements: &Requirements,
        provider: &T::AccountId,
    ) -> (Option<Mismatch>, usize) {
        if requirements.min_nodes <= 1 {
            return (None, 0);
        }
        let wanted = u32::from(requirements.min_nodes);
        let (mut found, mut looked_at) = (0_u32, 0_usize);
        for machine in MachinesByProvider::<T>::iter_key_prefix(provider).take(MAX_PROVIDER_MACHINES) {
            looked_at = looked_at.saturating_add(1);
            let meets = Self::machine_and_class(machine).is_some_and(|(record, class)| {
                Self::mismatches(requirements, machine, &record, &class).is_empty()
            });
            if meets {
                found = found.saturating_add(1);
            }
            if found >= wanted {
                return (None, looked_at);
            }
        }
        (Some(Mismatch::MinNodes(Gap { wanted, found })), looked_at)
    }
}

/// Search in progress.
struct Search<'a, T: Config> {
    requirements: &'a Requirements,
    classes: BTreeMap<HardwareClassId, HardwareClassRecord>,
    walks: Vec<OfferWalk>,
    /// Results of [`Pallet::nodes_mismatch`] for providers so far.
    providers: BTreeMap<T::AccountId, Option<Mismatch>>,
    looked_at: usize,
}

impl<'a, T: Config> Search<'a, T> {
    fn new(requirements: &'a Requirements, cursor: Option<Cursor>) -> Self {
        let classes: BTreeMap<_, _> = match &requirements.gpu_type {
            Some(name) => HardwareClassIds::<T>::get(name)
                .and_then(|class| Some((class, HardwareClasses::<T>::get(class)?)))
                .into_iter()
                .collect(),
            None => HardwareClasses::<T>::iter().collect(),
        };
        let walks = classes
            .iter()
            .filter(|(_, record)| {
                record.vram_mib >= requirements.min_vram_mib
                    && record.cuda_cores >= requirements.min_cuda_cores
                    && record.compute_score >= requirements.min_compute_score
            })
            .map(|(class, _)| {
                OfferWalk::new::<T>(
                    *class,
                    requirements.region.as_ref().map(|region| region.as_slice()),
                    cursor.as_ref(),
                )
            })
            .collect();
        Self {
            requirements,
            classes,
            walks,
            providers: BTreeMap::new(),
            looked_at: 0,
        }
    }

    fn page(mut self, limit: u32) -> OfferPage<T::AccountId> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let most_passed_over = usize::try_from(MAX_PASSED_OVER).unwrap_or(usize::MAX);
        let mut page = OfferPage {
            offers: Vec::new(),
            passed_over: Vec::new(),
            next: None,
        };
        let mut last = None;
        while let Some((walk, rank)) = self.best() {
            if page.offers.len() >= limit || self.looked_at >= MAX_LOOKED_AT {
                page.next = last;
                break;
            }
            let (_, _, machine) = offers::parts(&rank);
            self.advance(walk, rank);
            last = Some(rank);
            self.looked_at = self.looked_at.saturating_add(1);
            // Both exist: the index has only existing machines, and the walk only those of wanted classes.
            let Some(record) = Machines::<T>::get(machine) else {
                continue;
            };
            let Some(class) = self.classes.get(&record.class).cloned() else {
                continue;
            };
            let mut mismatches = Pallet::<T>::mismatches(self.requirements, machine, &record, &class);
            if mismatches.is_empty() {
                mismatches.extend(self.nodes_mismatch(&record.provider));
            }
            if mismatches.is_empty() {
                page.offers
                    .push(Pallet::<T>::view(self.requirements, machine, record, &class));
            } else if page.passed_over.len() < most_passed_over {
                page.passed_over.push(PassedOver { machine, mismatches });
            }
        }
        page
    }

    /// Returns the index of the walk with the best offer of all, and the offer's rank.
    fn best(&self) -> Option<(usize, Cursor)> {
        self.walks
            .iter()
            .enumerate()
            .filter_map(|(index, walk)| walk.head().map(|rank| (index, *rank)))
            .min_by_key(|(_, rank)| *rank)
    }

    /// Moves a walk past its best offer, and past those after it that its order rules out.
    fn advance(&mut self, walk: usize, rank: Cursor) {
        let (bucket, ask, _) = offers::parts(&rank);
        let Some(walk) = self.walks.get_mut(walk) else {
            return;
        };
        let too_rarely_up = bucket > offers::uptime_bucket(self.requirements.min_uptime_ppm);
        let too_dear = self
            .requirements
            .max_price_per_slot_hour
            .is_some_and(|price| ask > price);
        if too_rarely_up {
            walk.end();
        } else if too_dear {
            walk.seek(&offers::before_bucket(bucket.saturating_add(1)));
        } else {
            walk.seek(&rank);
        }
    }

    /// As [`Pallet::nodes_mismatch`], once for each provider of a page.
    fn nodes_mismatch(&mut self, provider: &T::AccountId) -> Option<Mismatch> {
        if self.requirements.min_nodes <= 1 {
            return None;
        }
        if let Some(known) = self.providers.get(provider) {
            return known.clone();
        }
        let (mismatch, looked_at) = Pallet::<T>::nodes_mismatch(self.requirements, provider);
        self.looked_at = self.looked_at.saturating_add(looked_at);
        self.providers.insert(provider.clone(), mismatch.clone());
        mismatch
    }
}
