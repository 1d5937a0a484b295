//! `assay machine list`

use assay_client::units::format_asy;

use super::{class_name, object};
use crate::{connection::Connection, output::Output};

pub(super) async fn run(connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let client = connection.client().await?;
    let machines = client.machines().await?;
    if !output.is_json() {
        if machines.is_empty() {
            return output.line("no machine is registered");
        }
        output.line(format_args!(
            "{:>7}  {:<24}  {:<16}  {:>7}  {:<16}  ask per slot-hour",
            "machine", "status", "class", "free", "region"
        ))?;
    }
    let classes = client.hardware_classes().await?;
    for (id, machine) in machines {
        let class = class_name(&classes, machine.class);
        let text = format!(
            "{id:>7}  {:<24}  {class:<16}  {:>3}/{:<3}  {:<16}  {}",
            machine.status.to_string(),
            machine.free_slots,
            machine.slots,
            machine.region,
            format_asy(machine.announced_ask()),
        );
        output.print(&object(id, &machine, &class)?, text)?;
    }
    Ok(())
}
