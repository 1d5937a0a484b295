//! Money of the demo: balances before and after, and the shares of its job's price.

use std::{
    fmt::{self, Write},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, ensure};
use assay_primitives::money::Balance;
use clap::Args;
use serde_json::Value;

use crate::{
    amounts::{format_asy, format_change},
    events::{self, Event, Goal},
};

/// Name of the last row, the chain's total issuance.
const ISSUANCE: &str = "total issuance";

/// Options of `xtask payments`.
#[derive(Debug, Args)]
pub(crate) struct PaymentOptions {
    /// File that `assay --output json watch` writes
    #[arg(long, value_name = "FILE")]
    events: PathBuf,
    /// Job that was paid and closed
    #[arg(long, value_name = "ID")]
    job: u64,
}

/// Options of `xtask balances`.
#[derive(Debug, Args)]
pub(crate) struct BalanceOptions {
    /// Name of the row for an account, in the order of the files' lines; repeated for each account
    #[arg(long = "account", value_name = "NAME", required = true)]
    accounts: Vec<String>,
    /// Lines of `assay --output json balance` for the accounts, then the line of `assay --output json chain`
    before: PathBuf,
    /// The same, later
    after: PathBuf,
}

/// Writes the sentences about a job's payments and the first reward.
pub(crate) fn payments(options: &PaymentOptions) -> anyhow::Result<String> {
    payments_of(&events::read_all(&options.events)?, options.job)
}

fn payments_of(events: &[Event], job: u64) -> anyhow::Result<String> {
    let paid = events::first(events, &Goal::of_job("closed", job))?.amount("paid")?;
    let is_payment = Goal::of_job("paid", job);
    let sum = |name: &str| -> anyhow::Result<Balance> {
        let payments = events.iter().filter(|event| is_payment.is_shown_by(event));
        payments.map(|event| event.amount(name)).sum()
    };
    let reward = events::first(events, &Goal::of_any("rewarded"))?.amount("amount")?;
    Ok(format!(
        "The consumer paid {} ASY for job {job}. Of that:\n  \
         {} went to the provider,\n  \
         {} to the protocol, which burned {} of it.\n\
         The machine's first reward, newly issued, was {} ASY.\n",
        format_asy(paid),
        format_asy(sum("provider_amount")?),
        format_asy(sum("fee")?),
        format_asy(sum("burned")?),
        format_asy(reward),
    ))
}

/// Writes the table of balances.
pub(crate) fn balances(options: &BalanceOptions) -> anyhow::Result<String> {
    let before = read_totals(&options.before, options.accounts.len())?;
    let after = read_totals(&options.after, options.accounts.len())?;
    let names = options.accounts.iter().map(String::as_str).chain([ISSUANCE]);
    let rows = names
        .zip(before.into_iter().zip(after))
        .map(|(name, (before, after))| (name, before, after));
    Ok(table(rows)?)
}

/// Reads the total of each account and then the total issuance, in plancks.
fn read_totals(path: &Path, accounts: usize) -> anyhow::Result<Vec<Balance>> {
    let text = fs::read_to_string(path)?;
    parse_totals(&text, accounts).with_context(|| format!("cannot read balances from {}", path.display()))
}

fn parse_totals(text: &str, accounts: usize) -> anyhow::Result<Vec<Balance>> {
    let lines: Vec<&str> = text.lines().collect();
    ensure!(
        lines.len() == accounts + 1,
        "expected {} lines, found {}",
        accounts + 1,
        lines.len()
    );
    lines
        .iter()
        .enumerate()
        .map(|(index, line)| {
            let field = if index < accounts {
                "total"
            } else {
                "total_issuance"
            };
            let object: Value = serde_json::from_str(line)?;
            let amount: Option<Balance> = object[field].as_str().and_then(|text| text.parse().ok());
            amount.ok_or_else(|| anyhow!("line {} has no amount `{field}`: {line}", index + 1))
        })
        .collect()
}

fn table<'a>(rows: impl Iterator<Item = (&'a str, Balance, Balance)>) -> Result<String, fmt::Error> {
    let mut table = String::new();
    writeln!(
        table,
        "{:<26} {:>26} {:>26} {:>24}",
        "", "before", "after", "change"
    )?;
    for (name, before, after) in rows {
        let change = format_change(before, after);
        let (before, after) = (format_asy(before), format_asy(after));
        writeln!(table, "{name:<26} {before:>26} {after:>26} {change:>24}")?;
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use assay_primitives::money::ASY;

    use super::*;
    use crate::events::tests::recorded;

    #[test]
    fn payments_are_told_in_sentences() {
        assert_eq!(
            payments_of(&recorded(), 3).expect("job 3 was paid and closed"),
            "The consumer paid 6.000000000000 ASY for job 3. Of that:\n  \
             5.700000000000 went to the provider,\n  \
             0.300000000000 to the protocol, which burned 0.150000000000 of it.\n\
             The machine's first reward, newly issued, was 0.000003333333 ASY.\n"
        );
    }

    #[test]
    fn payments_of_a_job_that_is_not_closed_are_an_error() {
        let error = payments_of(&recorded(), 4).expect_err("job 4 is not closed");
        assert_eq!(error.to_string(), "no event shows the step `closed of job 4`");
    }

    #[test]
    fn totals_are_read_in_order() {
        let text = "{\"account\":\"a\",\"free\":\"1\",\"total\":\"7\"}\n{\"total_issuance\":\"9\"}\n";
        assert_eq!(parse_totals(text, 1).expect("the lines are complete"), [7, 9]);
    }

    #[test]
    fn totals_fail_when_a_line_is_missing_or_strange() {
        for text in [
            "",
            "{\"total\":\"7\"}\n",
            "{\"total\":\"7\"}\n{\"total\":\"9\"}\n",
            "{\"total\":7}\n{\"total_issuance\":\"9\"}\n",
            "{\"total\":\"7\"}\n{\"total_issuance\":\"9 ASY\"}\n",
        ] {
            assert!(parse_totals(text, 1).is_err(), "{text:?}");
        }
    }

    #[test]
    fn table_aligns_amounts() {
        let rows = [
            ("provider (Bob)", 10 * ASY, 12 * ASY + ASY / 2),
            (ISSUANCE, 1_000_000 * ASY, 999_999 * ASY),
        ];
        assert_eq!(
            table(rows.into_iter()).expect("a string takes every line"),
            "                                               before                      after                   change\n\
             provider (Bob)                        10.000000000000            12.500000000000          +2.500000000000\n\
             total issuance                   1000000.000000000000        999999.000000000000          -1.000000000000\n"
        );
    }
}
