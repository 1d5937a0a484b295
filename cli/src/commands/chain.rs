//! `assay chain`

use assay_client::{json, units::format_asy};
use serde_json::json;

use crate::{connection::Connection, duration::format_milliseconds, output::Output};

pub(crate) async fn run(connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let client = connection.client().await?;
    let name = client.chain_name().await?;
    let genesis = format!("0x{}", hex::encode(client.genesis_hash()));
    let finalized = client.finalized_block().await?;
    let best = client.best_block().await?;
    let clock = client.clock().await?;
    let total_issuance = client.total_issuance().await?;

    let object = json!({
        "chain": name,
        "genesis": genesis,
        "best": { "number": best.number, "hash": format!("0x{}", hex::encode(best.hash)) },
        "finalized": { "number": finalized.number, "hash": format!("0x{}", hex::encode(finalized.hash)) },
        "clock": json::to_value(&clock)?,
        "total_issuance": total_issuance.to_string(),
    });
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
