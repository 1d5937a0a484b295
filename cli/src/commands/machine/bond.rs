//! `assay machine bond` and `assay machine unbond`

use anyhow::{bail, ensure};
use assay_client::{
    ChainClient,
    calls::{self, Call},
    units::format_asy,
};

use super::existing;
use crate::connection::Connection;

/// Returns the call that bonds this amount, or the amount missing to the minimum.
pub(super) async fn bond(id: u64, amount: Option<u128>, connection: &Connection) -> anyhow::Result<Call> {
    let client = connection.client().await?;
    let (bonded, counting, debt) = client
        .bond(id)
        .await?
        .map_or((0, 0, 0), |bond| (bond.bonded, bond.unencumbered(), bond.debt));
    ensure!(
        debt == 0,
        "machine {id} owes {} because a slash found too little, and nothing can be bonded for it until that is paid: \
         `assay machine pay-debt {id}`",
        format_asy(debt)
    );
    let amount = match amount {
        Some(amount) => amount,
        None => missing_bond(&client, id, counting).await?,
    };
    // A record without a bond stays as long as it has strikes.
    Ok(if bonded > 0 {
        calls::bond_extra(id, amount)
    } else {
        calls::bond(id, amount)
    })
}

/// Returns the call that unbonds this amount, or the whole bond.
pub(super) async fn unbond(id: u64, amount: Option<u128>, connection: &Connection) -> anyhow::Result<Call> {
    let amount = match amount {
        Some(amount) => amount,
        None => {
            let bond = connection.client().await?.bond(id).await?;
            let bonded = bond.map_or(0, |bond| bond.bonded);
            ensure!(
                bonded > 0,
                "nothing is bonded for machine {id}; `assay machine show {id}` shows unbonding amounts"
            );
            bonded
        }
    };
    Ok(calls::unbond(id, amount))
}

/// Returns the plancks missing to the machine's minimum. `counting` is the bond without its pending slashes,
/// in plancks.
async fn missing_bond(client: &ChainClient, id: u64, counting: u128) -> anyhow::Result<u128> {
    let machine = existing(client, id).await?;
    let minimum = client.minimum_bond_of(&machine).await?;
    let missing = minimum.saturating_sub(counting);
    if missing == 0 {
        bail!(
            "machine {id} has its minimum of {} bonded; name the amount to add",
            format_asy(minimum)
        );
    }
    Ok(missing)
}
