//! Registers a provider with one machine and bonds the machine, as a worker does when it starts.
//!
//! `cargo run --example register_machine -- ws://127.0.0.1:9944 PROVIDER_KEY_FILE WORKER_KEY_FILE CLASS`

use std::path::Path;

use assay_client::{
    ChainClient,
    calls::{self, MachineRegistration},
    keys,
    types::Location,
    units::{format_asy, parse_asy},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, provider_file, worker_file, class_name] = arguments.as_slice() else {
        return Err(
            "four arguments are needed: URL, provider key file, worker key file, hardware class".into(),
        );
    };
    let provider = keys::load_key_file(Path::new(provider_file))?;
    let worker = keys::load_or_create_key_file(Path::new(worker_file))?;
    let (provider_account, worker_account) = (keys::account_of(&provider), keys::account_of(&worker));

    let client = ChainClient::connect(url).await?;
    let (class, _) = client
        .hardware_class(class_name)
        .await?
        .ok_or_else(|| format!("the catalogue has no hardware class {class_name}"))?;

    // One transaction: the provider where it is none yet, the machine, and fees for its worker.
    let mut batch = Vec::new();
    if client.provider(&provider_account.0).await?.is_none() {
        batch.push(calls::register_provider("example"));
    }
    let registration = MachineRegistration {
        worker_key: worker_account,
        sealing_key: [7; 32],
        class,
        slots: 1,
        cpu_cores: 2,
        ram_mib: 4_096,
        disk_gib: 20,
        upload_mbps: 100,
        download_mbps: 100,
        location: Location {
            latitude_microdegrees: 52_520_000,
            longitude_microdegrees: 13_405_000,
        },
        region: "eu-central".to_owned(),
        endpoint: "http://127.0.0.1:4001".to_owned(),
        ask: parse_asy("1")?,
    };
    let agreement = keys::sign_worker_key(&worker, &client.genesis_hash(), &provider_account.0);
    batch.push(calls::register_machine(registration, agreement));
    batch.push(calls::transfer_keep_alive(&worker_account, parse_asy("10")?));
    let included = client.submit(calls::batch_all(batch), &provider).await?;
    for event in &included.events {
        println!("block {}: {event}", included.block_number);
    }

    let machine = client
        .machine_of_worker(&worker_account.0)
        .await?
        .ok_or("the machine is not there")?;
    let minimum = client.minimum_bond(class, 1).await?;
    let included = client.submit(calls::bond(machine, minimum), &provider).await?;
    for event in &included.events {
        println!("block {}: {event}", included.block_number);
    }
    println!(
        "{} left",
        format_asy(client.balance(&provider_account.0).await?.free)
    );
    Ok(())
}
