//! The market's search, by provider.

use std::{collections::BTreeMap, fmt};

use assay_primitives::money::Balance;
use serde::Serialize;

use super::{Consumer, ConsumerError, describe_mismatch};
use crate::{
    market::{FindOptions, MAX_PAGE_OFFERS, MachineView, PassedOver, Requirements},
    types::AccountId,
};

/// Maximum number of machines that a search reads, so that a market of any size takes a bounded time.
pub(super) const MAX_OFFERS: usize = 10_000;

/// Maximum number of machines that an explanation names.
const MAX_EXPLAINED: usize = 1_000;

/// Maximum number of machines that an explanation names where a search looks at none.
const MAX_OTHERS: u32 = 20;

/// Machines of one provider that meet the requirements, as many as were asked for, the best first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Cluster {
    /// The provider.
    pub provider: AccountId,
    /// The machines.
    pub machines: Vec<MachineView>,
}

impl Cluster {
    /// Returns the highest price of the machines, in plancks per slot-hour. Where a raise is announced, it
    /// counts already.
    pub fn price_per_slot_hour(&self) -> Balance {
        self.machines.iter().map(asked_price).max().unwrap_or_default()
    }

    /// Returns the lowest uptime of the machines, in parts per million.
    pub fn uptime_ppm(&self) -> u32 {
        self.machines
            .iter()
            .map(|machine| machine.uptime_ppm)
            .min()
            .unwrap_or_default()
    }

    /// Returns the regions of the machines, each once.
    pub fn regions(&self) -> Vec<String> {
        let mut regions: Vec<_> = self
            .machines
            .iter()
            .map(|machine| String::from_utf8_lossy(&machine.region).into_owned())
            .collect();
        regions.sort_unstable();
        regions.dedup();
        regions
    }
}

/// Returns what a machine asks for, in plancks per slot-hour; where a raise is announced, that, since it may
/// come to hold before an order does.
pub(super) fn asked_price(machine: &MachineView) -> Balance {
    machine
        .next_price_per_slot_hour
        .unwrap_or(machine.price_per_slot_hour)
        .max(machine.price_per_slot_hour)
}

/// Reasons of a search.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Explanation {
    /// The requirements.
    pub requirements: Requirements,
    /// Machines that meet them.
    pub fitting: Vec<u64>,
    /// Machines that do not, with what they lack; the first 1,000. Where none is of the class and in the
    /// region, some of the class elsewhere, or of other classes.
    pub passed_over: Vec<PassedOver>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fitting.len() {
            0 => formatter.write_str("no machine meets the requirements")?,
            1 => formatter.write_str("one machine meets the requirements")?,
            fitting => write!(formatter, "{fitting} machines meet the requirements")?,
        }
        for machine in &self.passed_over {
            let reasons: Vec<_> = machine
                .mismatches
                .iter()
                .map(|mismatch| describe_mismatch(mismatch, &self.requirements))
                .collect();
            write!(
                formatter,
                "\nmachine {} is passed over: {}",
                machine.machine,
                reasons.join("; ")
            )?;
        }
        Ok(())
    }
}

impl Consumer {
    /// Returns providers with as many machines as [`Requirements::min_nodes`] asks for that meet the
    /// requirements: those with the best uptime first, then the cheapest. None where nobody has them.
    ///
    /// # Errors
    /// The node does not answer, or refuses the requirements, as for a hardware class that does not exist.
    pub async fn find(&self, requirements: &Requirements) -> Result<Vec<Cluster>, ConsumerError> {
        let offers = self.offers(requirements).await?;
        Ok(clusters(offers, requirements.min_nodes.max(1)))
    }

    /// Returns the machines that meet the requirements and those that do not, with the reasons.
    ///
    /// # Errors
    /// As for [`Self::find`].
    pub async fn explain(&self, requirements: &Requirements) -> Result<Explanation, ConsumerError> {
        let mut explanation = Explanation {
            requirements: requirements.clone(),
            fitting: Vec::new(),
            passed_over: Vec::new(),
        };
        let options = FindOptions {
            limit: Some(MAX_PAGE_OFFERS),
            explain: true,
            ..FindOptions::default()
        };
        let mut pages = self.client.offer_pages(requirements.clone(), options);
        while let Some(page) = pages.next().await? {
            let fitting = page.offers.iter().map(|offer| offer.machine);
            explanation.fitting.extend(fitting);
            explanation.passed_over.extend(page.passed_over);
            if explanation.fitting.len() >= MAX_OFFERS || explanation.passed_over.len() >= MAX_EXPLAINED {
                break;
            }
        }
        explanation.passed_over.truncate(MAX_EXPLAINED);
        if explanation.fitting.is_empty() && explanation.passed_over.is_empty() {
            explanation.passed_over = self.explain_others(requirements).await?;
        }
        Ok(explanation)
    }

    /// Explains some machines outside of the region and the class, which is where a search looks at all.
    async fn explain_others(&self, requirements: &Requirements) -> Result<Vec<PassedOver>, ConsumerError> {
        let anywhere = Requirements {
            gpu_type: requirements.gpu_type.clone(),
            ..Requirements::default()
        };
        for wider in [anywhere, Requirements::default()] {
            let options = FindOptions {
                limit: Some(MAX_OTHERS),
                explain: true,
                ..FindOptions::default()
            };
            let page = self.client.find_machines(&wider, &options).await?;
            let offered = page.offers.iter().map(|offer| offer.machine);
            let machines = offered.chain(page.passed_over.iter().map(|passed| passed.machine));
            let mut explained = Vec::new();
            for machine in machines.take(MAX_OTHERS as usize) {
                // One that left the market meanwhile is passed over in silence.
                if let Some(mismatches) = self.client.explain(requirements, machine).await? {
                    explained.push(PassedOver { machine, mismatches });
                }
            }
            if !explained.is_empty() {
                return Ok(explained);
            }
        }
        Ok(Vec::new())
    }

    /// Returns the machines that meet the requirements, in the market's order.
    pub(super) async fn offers(
        &self,
        requirements: &Requirements,
    ) -> Result<Vec<MachineView>, ConsumerError> {
        let options = FindOptions {
            limit: Some(MAX_PAGE_OFFERS),
            ..FindOptions::default()
        };
        let mut pages = self.client.offer_pages(requirements.clone(), options);
        let mut offers = Vec::new();
        while let Some(page) = pages.next().await? {
            offers.extend(page.offers);
            if offers.len() >= MAX_OFFERS {
                break;
            }
        }
        Ok(offers)
    }
}

/// Groups offers by provider, in their order.
pub(super) fn by_provider(offers: Vec<MachineView>) -> Vec<Cluster> {
    let mut clusters: Vec<Cluster> = Vec::new();
    let mut places: BTreeMap<[u8; 32], usize> = BTreeMap::new();
    for offer in offers {
        let place = *places.entry(offer.provider.0).or_insert(clusters.len());
        match clusters.get_mut(place) {
            Some(cluster) => cluster.machines.push(offer),
            None => clusters.push(Cluster {
                provider: offer.provider,
                machines: vec![offer],
            }),
        }
    }
    clusters
}

/// Returns of each provider that has enough offers the best `nodes`, best clusters first.
pub(super) fn clusters(offers: Vec<MachineView>, nodes: u8) -> Vec<Cluster> {
    let nodes = usize::from(nodes);
    let mut clusters = by_provider(offers);
    clusters.retain(|cluster| cluster.machines.len() >= nodes);
    for cluster in &mut clusters {
        // Offers come best first.
        cluster.machines.truncate(nodes);
    }
    // Stable: where these are alike, the market's order stays.
    clusters.sort_by_key(|cluster| {
        (
            std::cmp::Reverse(cluster.uptime_ppm()),
            cluster.price_per_slot_hour(),
        )
    });
    clusters
}
