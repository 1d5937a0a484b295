//! `assay job ports` and `fetch`: a job's published ports.

use std::{
    io::{self, Write},
    time::Duration,
};

use anyhow::anyhow;
use assay_client::{
    consumer::PortAddress,
    manifest::PortProtocol,
    worker_api::{OwnerSession, WorkerApiError},
};
use clap::Args;
use serde_json::{Value, json};

use super::access::{self, JobOnMachine};
use crate::{connection::Connection, output::Output};

/// Longest silence of a container in the middle of its answer.
const SILENCE: Duration = Duration::from_secs(300);

/// Page of a job's HTTP port.
#[derive(Debug, Args)]
pub(crate) struct FetchOptions {
    #[command(flatten)]
    target: JobOnMachine,

    /// Name of the port in the manifest
    #[arg(value_name = "PORT")]
    port: String,

    /// Path of the page, with a query or without
    #[arg(value_name = "PATH", default_value = "/")]
    path: String,
}

/// Prints a job's published ports.
pub(super) async fn list(
    target: JobOnMachine,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    let access = access::open(&target, connection).await?;
    let ports = access.ports().await?;
    let objects: Vec<_> = ports.iter().map(object).collect();
    let text = if ports.is_empty() {
        format!(
            "job {} has no published ports now; its manifest names them, and they are there while it runs",
            access.job()
        )
    } else {
        table(&ports)
    };
    output.print(&json!({ "job": access.job(), "ports": objects }), text)
}

fn object(PortAddress { port, address }: &PortAddress) -> Value {
    json!({
        "name": port.name,
        "protocol": port.protocol.name(),
        "container_port": port.container_port,
        "host_port": port.host_port,
        "address": address,
        "public": port.public,
    })
}

fn table(ports: &[PortAddress]) -> String {
    let lengths = ports.iter().map(|PortAddress { port, .. }| port.name.len());
    let width = lengths.max().unwrap_or(0).max(4);
    let mut lines = vec![format!(
        "{:width$}  protocol  container  open to  address",
        "name"
    )];
    for PortAddress { port, address } in ports {
        lines.push(format!(
            "{:width$}  {:8}  {:<9}  {:7}  {address}",
            port.name,
            port.protocol.name(),
            port.container_port,
            if port.public || port.protocol != PortProtocol::Http {
                "anybody"
            } else {
                "owner"
            },
        ));
    }
    lines.join("\n")
}

/// Prints a page of a job's HTTP port, byte for byte.
pub(super) async fn fetch(options: FetchOptions, connection: &Connection) -> anyhow::Result<()> {
    let access = access::open(&options.target, connection).await?;
    let session = access.log_in().await?;
    let printed = print(&session, &options.port, &options.path).await;
    access.log_out(session).await;
    printed
}

async fn print(session: &OwnerSession, port: &str, path: &str) -> anyhow::Result<()> {
    let mut answer = match session.fetch(port, path).await {
        Ok(answer) => answer,
        Err(error) if error.is_refused_with(404) => return Err(not_found(session, port, error).await),
        Err(error) => return Err(error.into()),
    };
    let mut stdout = io::stdout();
    while let Some(piece) = answer.next_within(SILENCE).await? {
        stdout.write_all(&piece)?;
    }
    Ok(stdout.flush()?)
}

/// Converts a refusal: distinguishes a page that the container lacks from a port that the job lacks.
async fn not_found(session: &OwnerSession, port: &str, error: WorkerApiError) -> anyhow::Error {
    let ports = session.ports().await.unwrap_or_default();
    if ports
        .iter()
        .any(|known| known.name == port && known.protocol == PortProtocol::Http)
    {
        return error.into();
    }
    let names: Vec<_> = ports.into_iter().map(|known| known.name).collect();
    let names = if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    };
    anyhow!(
        "job {} has no HTTP port {port:?} now; its ports: {names}",
        session.job()
    )
}

#[cfg(test)]
mod tests {
    use assay_client::worker_api::JobPort;

    use super::*;

    #[test]
    fn ports_are_shown_as_a_table() {
        let port = |name: &str, protocol, host_port, address: &str| PortAddress {
            port: JobPort {
                name: name.to_owned(),
                protocol,
                container_port: 80,
                host_port,
                public: false,
            },
            address: address.to_owned(),
        };
        let ports = [
            port(
                "website",
                PortProtocol::Http,
                None,
                "https://a/v1/jobs/5/ports/website/",
            ),
            port("ssh", PortProtocol::Tcp, Some(30_000), "a:30000"),
        ];
        assert_eq!(
            table(&ports),
            "name     protocol  container  open to  address\n\
             website  http      80         owner    https://a/v1/jobs/5/ports/website/\n\
             ssh      tcp       80         anybody  a:30000"
        );
    }
}
