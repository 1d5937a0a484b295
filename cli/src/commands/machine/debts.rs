//! `assay machine debts` and `assay machine pay-debt`

use anyhow::{bail, ensure};
use assay_client::{
    calls::{self, Call},
    json,
    types::{Debt, SlashId},
    units::format_asy,
};
use clap::Args;
use serde_json::Value;

use super::existing;
use crate::{connection::Connection, output::Output};

/// Debts to pay.
#[derive(Debug, Args)]
pub(crate) struct PayOptions {
    /// The machine
    id: u64,

    /// Pay only the debt of this slash; all debts of the machine, in one transaction, when left out
    #[arg(long, value_name = "EPOCH/INDEX", value_parser = parse_slash)]
    slash: Option<SlashId>,
}

/// Reads a slash's identifier as the commands show it.
fn parse_slash(text: &str) -> Result<SlashId, String> {
    text.split_once('/')
        .and_then(|(due_epoch, index)| {
            Some(SlashId {
                due_epoch: due_epoch.parse().ok()?,
                index: index.parse().ok()?,
            })
        })
        .ok_or_else(|| {
            format!(
                "{text:?} does not name a slash: write it as `assay machine debts` shows it, such as 12/0"
            )
        })
}

pub(super) async fn run(id: u64, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let client = connection.client().await?;
    let debts = client.debts(id).await?;
    if debts.is_empty() {
        existing(&client, id).await?;
        if !output.is_json() {
            output.line(format_args!("machine {id} owes nothing"))?;
        }
        return Ok(());
    }
    if !output.is_json() {
        output.line(format_args!("{:>10}  {:>24}  shares", "slash", "owed"))?;
    }
    let mut total = 0u128;
    for (slash, debt) in &debts {
        total = total.saturating_add(debt.total());
        let text = format!(
            "{slash:>10}  {:>24}  {}",
            format_asy(debt.total()),
            describe(debt)
        );
        output.print(&object(id, *slash, debt)?, text)?;
    }
    if !output.is_json() {
        output.line(format_args!(
            "{} in all; `assay machine pay-debt {id}` pays it",
            format_asy(total)
        ))?;
    }
    Ok(())
}

/// Returns a debt as JSON.
pub(super) fn object(machine: u64, slash: SlashId, debt: &Debt) -> anyhow::Result<Value> {
    let mut object = json::to_value(debt)?;
    object["machine"] = machine.into();
    object["slash"] = json::to_value(&slash)?;
    object["total"] = debt.total().to_string().into();
    Ok(object)
}

fn describe(debt: &Debt) -> String {
    let consumer = debt
        .consumer
        .map(|share| format!("{} the consumer's ({})", format_asy(share.amount), share.account));
    let burn = (debt.burn > 0).then(|| format!("{} to be burned", format_asy(debt.burn)));
    consumer.into_iter().chain(burn).collect::<Vec<_>>().join(", ")
}

/// Returns the call that pays, after printing the amount.
pub(super) async fn pay(
    options: PayOptions,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<Call> {
    let PayOptions { id, slash } = options;
    // Before anything is read, so that a missing key is reported at once.
    connection.signer()?;
    let client = connection.client().await?;
    let mut debts = client.debts(id).await?;
    if debts.is_empty() {
        existing(&client, id).await?;
        bail!("machine {id} owes nothing");
    }
    if let Some(slash) = slash {
        debts.retain(|(id, _)| *id == slash);
        ensure!(
            !debts.is_empty(),
            "machine {id} owes nothing of slash {slash}; `assay machine debts {id}` shows what it owes"
        );
    }
    let total = debts
        .iter()
        .fold(0u128, |total, (_, debt)| total.saturating_add(debt.total()));
    if !output.is_json() {
        output.line(format_args!("paying {} of machine {id}", format_asy(total)))?;
    }
    let mut payments: Vec<Call> = debts
        .into_iter()
        .map(|(slash, _)| calls::pay_debt(id, slash))
        .collect();
    Ok(match payments.pop() {
        Some(payment) if payments.is_empty() => payment,
        last => calls::batch_all(payments.into_iter().chain(last).collect()),
    })
}

#[cfg(test)]
mod tests {
    use assay_client::{AccountId, types::Share};

    use super::*;

    #[test]
    fn parse_slash_reads_what_is_shown() {
        let slash = SlashId {
            due_epoch: 12,
            index: 3,
        };
        assert_eq!(parse_slash(&slash.to_string()), Ok(slash));
        for text in ["", "12", "12/", "/3", "12/3/4", "a/3", "-1/0", "4294967296/0"] {
            assert!(parse_slash(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_debt_is_described_part_by_part() {
        let debt = Debt {
            consumer: Some(Share {
                account: AccountId::from([1; 32]),
                amount: 2_000_000_000_000,
            }),
            burn: 500_000_000_000,
        };
        assert_eq!(
            describe(&debt),
            format!(
                "2 ASY the consumer's ({}), 0.5 ASY to be burned",
                AccountId::from([1; 32])
            )
        );
    }
}
