//! `assay balance`

use assay_client::{AccountId, accounts::Hold, json, keys, types::AccountBalance, units::format_asy};
use clap::Args;
use serde_json::{Value, json};

use crate::{connection::Connection, output::Output};

/// Accounts whose balances are shown.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// SS58 addresses, public keys in hex, or development names such as //Bob
    #[arg(required = true, value_name = "ACCOUNT", value_parser = keys::parse_account)]
    accounts: Vec<AccountId>,
}

pub(crate) async fn run(options: Options, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let client = connection.client().await?;
    for account in options.accounts {
        let balance = client.balance(&account.0).await?;
        let holds = client.holds(&account.0).await?;
        let mut text = format!(
            "{account}  {} free, {} held, {} in all",
            format_asy(balance.free),
            format_asy(balance.held),
            format_asy(balance.total()),
        );
        for hold in &holds {
            text.push_str(&format!(
                "\n  held {}: {}",
                format_asy(hold.amount),
                hold.purpose()
            ));
        }
        output.print(&object(&account, &balance, &holds)?, text)?;
    }
    Ok(())
}

/// Balances for programs.
fn object(account: &AccountId, balance: &AccountBalance, holds: &[Hold]) -> anyhow::Result<Value> {
    Ok(json!({
        "account": account,
        "free": balance.free.to_string(),
        "held": balance.held.to_string(),
        "holds": json::to_value(holds)?,
        "frozen": balance.frozen.to_string(),
        "total": balance.total().to_string(),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::schema::assert_is;

    #[test]
    fn balances_are_printed_as_the_schema_says() {
        let hold = Hold {
            pallet: "JobEscrow".to_owned(),
            reason: "Job".to_owned(),
            amount: 7,
        };
        let object = object(&AccountId::from([1; 32]), &AccountBalance::default(), &[hold]).unwrap();
        assert_is("balance", &object);
        assert_eq!(object["holds"][0]["pallet"], "job_escrow");
    }
}
