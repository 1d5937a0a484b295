//! Choice of the machines for an order.

use std::collections::BTreeSet;

use super::{
    Consumer, ConsumerError, describe_mismatch,
    find::{asked_price, by_provider, clusters},
};
use crate::{
    market::{MachineView, Requirements},
    order::OrderSpec,
    types::AccountId,
};

/// Machines among which those of an order are chosen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum MachineChoice {
    /// Any: of the provider with the best uptime, then the lowest price.
    #[default]
    Anywhere,
    /// Of this provider. An order whose machines are of distinct providers has one of it.
    Provider(AccountId),
    /// These machines and no others.
    Machines(Vec<u64>),
}

impl Consumer {
    /// Returns machines for an order. `excluded`: providers that are not to have it.
    ///
    /// # Errors
    /// [`ConsumerError::NothingFits`] if there are too few, [`ConsumerError::Unfit`] for a machine that was
    /// named and cannot have it.
    pub(super) async fn choose(
        &self,
        spec: &OrderSpec,
        choice: &MachineChoice,
        excluded: &BTreeSet<[u8; 32]>,
    ) -> Result<Vec<MachineView>, ConsumerError> {
        if let MachineChoice::Machines(machines) = choice {
            return self.named(spec, machines).await;
        }
        let mut offers = self.offers(&spec.search()).await?;
        if spec.kind.is_attested() {
            offers.retain(|offer| offer.tee_kinds.has_processor());
        }
        offers.retain(|offer| !excluded.contains(&offer.provider.0));
        let provider = match choice {
            MachineChoice::Provider(provider) => Some(provider),
            MachineChoice::Anywhere | MachineChoice::Machines(_) => None,
        };
        pick(offers, spec, provider)
    }

    async fn named(&self, spec: &OrderSpec, machines: &[u64]) -> Result<Vec<MachineView>, ConsumerError> {
        if machines.len() != usize::from(spec.nodes) {
            return Err(ConsumerError::NothingFits {
                reason: format!(
                    "the order is for {} machines, and {} are named",
                    spec.nodes,
                    machines.len()
                ),
            });
        }
        // Those that are named need not be of one provider.
        let wanted = Requirements {
            min_nodes: 1,
            ..spec.search()
        };
        let mut views = Vec::new();
        for &machine in machines {
            let unfit = |reason: String| ConsumerError::Unfit { machine, reason };
            let view = self
                .client
                .machine_view(machine)
                .await?
                .ok_or_else(|| unfit("it is not registered".to_owned()))?;
            let mismatches = self.client.explain(&wanted, machine).await?.unwrap_or_default();
            if !mismatches.is_empty() {
                let reasons: Vec<_> = mismatches
                    .iter()
                    .map(|mismatch| describe_mismatch(mismatch, &wanted))
                    .collect();
                return Err(unfit(reasons.join("; ")));
            }
            if spec.kind.is_attested() && !view.tee_kinds.has_processor() {
                return Err(unfit(
                    "it has no fresh evidence of its processor's TEE".to_owned(),
                ));
            }
            views.push(view);
        }
        Ok(views)
    }
}

/// Picks the machines of an order among offers, which come best first.
pub(super) fn pick(
    offers: Vec<MachineView>,
    spec: &OrderSpec,
    provider: Option<&AccountId>,
) -> Result<Vec<MachineView>, ConsumerError> {
    let nodes = usize::from(spec.nodes);
    let too_few = |found: usize, who: &str| ConsumerError::NothingFits {
        reason: format!(
            "{nodes} machines are wanted, and {found} {who} meet the requirements and have free slots"
        ),
    };
    if spec.needs_distinct_providers() {
        return spread(offers, spec, provider, nodes).map_err(|found| {
            too_few(
                found,
                "of distinct providers and regions, as the order wants them,",
            )
        });
    }
    let of_provider = |offer: &&MachineView| provider.is_none_or(|provider| offer.provider == *provider);
    let offers: Vec<_> = offers.iter().filter(of_provider).cloned().collect();
    let found = offers.len();
    if spec.spread.regions {
        return by_provider(offers)
            .into_iter()
            .map(|cluster| distinct_regions(cluster.machines, nodes))
            .find(|picked| picked.len() == nodes)
            .ok_or_else(|| too_few(found, "of one provider, each in a region of its own,"));
    }
    clusters(offers, spec.nodes)
        .into_iter()
        .next()
        .map(|cluster| cluster.machines)
        .ok_or_else(|| too_few(found, "of one provider"))
}

/// The first machine of each region, at most `nodes`.
fn distinct_regions(machines: Vec<MachineView>, nodes: usize) -> Vec<MachineView> {
    let mut picked: Vec<MachineView> = Vec::new();
    for machine in machines {
        if picked.len() < nodes && picked.iter().all(|other| other.region != machine.region) {
            picked.push(machine);
        }
    }
    picked
}

/// One machine of each provider; a provider that is named has the first. Returns the number that was found
/// where it is too small.
fn spread(
    offers: Vec<MachineView>,
    spec: &OrderSpec,
    provider: Option<&AccountId>,
    nodes: usize,
) -> Result<Vec<MachineView>, usize> {
    let (mut named, others): (Vec<_>, Vec<_>) = offers
        .into_iter()
        .partition(|offer| provider.is_some_and(|provider| offer.provider == *provider));
    if provider.is_some() && named.is_empty() {
        return Err(0);
    }
    // Of several machines of the provider the cheapest of those with the best uptime.
    named.sort_by_key(|offer| (std::cmp::Reverse(offer.uptime_ppm), asked_price(offer)));
    let mut picked: Vec<MachineView> = Vec::new();
    for offer in named.into_iter().chain(others) {
        let is_apart = picked.iter().all(|other| {
            other.provider != offer.provider && !(spec.spread.regions && other.region == offer.region)
        });
        if is_apart && picked.len() < nodes {
            picked.push(offer);
        }
    }
    if picked.len() == nodes {
        Ok(picked)
    } else {
        Err(picked.len())
    }
}
