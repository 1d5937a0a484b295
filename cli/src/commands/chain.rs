//! `assay chain`

use assay_client::{BlockId, json, types::Clock, units::format_asy};
use serde_json::{Value, json};

use crate::{connection::Connection, duration::format_milliseconds, output::Output};

pub(crate) async fn run(connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let client = connection.client().await?;
    let name = client.chain_name().await?;
    let genesis = format!("0x{}", hex::encode(client.genesis_hash()));
    let finalized = client.finalized_block().await?;
    let best = client.best_block().await?;
    let clock = client.clock().await?;
    let total_issuance = client.total_issuance().await?;

    let facts = Facts {
        name,
        genesis,
        clock,
        total_issuance,
    };
    let object = object(&facts, block(&best), block(&finalized))?;
    let Facts { name, genesis, .. } = &facts;
    let text = format!(
        "chain        {name}\n\
         genesis      {genesis}\n\
         best         {}\n\
         finalized    {}\n\
         active time  {}\n\
         epoch        {} (of {} each)\n\
         issuance     {}",
        best.number,
        finalized.number,
        format_milliseconds(clock.active_time_ms),
        clock.epoch,
        format_milliseconds(clock.epoch_duration_ms),
        format_asy(total_issuance),
    );
    output.print(&object, text)
}

/// Facts that are shown besides blocks.
struct Facts {
    name: String,
    genesis: String,
    clock: Clock,
    total_issuance: u128,
}

/// The chain for programs.
fn object(facts: &Facts, best: Value, finalized: Value) -> anyhow::Result<Value> {
    Ok(json!({
        "chain": facts.name,
        "genesis": facts.genesis,
        "best": best,
        "finalized": finalized,
        "clock": json::to_value(&facts.clock)?,
        "total_issuance": facts.total_issuance.to_string(),
    }))
}

/// A block for programs.
fn block(block: &BlockId) -> Value {
    json!({ "number": block.number, "hash": format!("0x{}", hex::encode(block.hash)) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::schema::assert_is;

    #[test]
    fn the_chain_is_printed_as_the_schema_says() {
        let best = block(&BlockId {
            number: 7,
            hash: [1; 32],
        });
        let clock = Clock {
            active_time_ms: 1,
            epoch: 2,
            epoch_duration_ms: 3,
        };
        let facts = Facts {
            name: "Assay Development".to_owned(),
            genesis: "0x01".to_owned(),
            clock,
            total_issuance: 9,
        };
        assert_is("chain", &object(&facts, best.clone(), best).unwrap());
    }
}
