//! Instructions for a provider whose key is elsewhere.

use assay_client::{AccountId, ChainClient, calls::MachineRegistration, types::Machine, units::format_asy};

use assay_primitives::money::ASY;

use super::WORKER_ENDOWMENT;
use crate::{config::Config, keys::Keys};

/// Returns the calls that a provider whose key is elsewhere must sign to register the machine.
pub(super) fn registering(
    client: &ChainClient,
    config: &Config,
    keys: &Keys,
    registration: &MachineRegistration,
    class_name: &str,
    bond: u128,
) -> String {
    let worker = keys.worker_account();
    let Some(provider) = config.assay.provider_account else {
        return format!(
            "this machine is not registered and no provider is named. Name the provider's key with \
             `assay.provider_key_file`; or, to keep that key elsewhere, name its account with \
             `assay.provider_account`, so that the worker key {worker} can sign its agreement to serve it"
        );
    };
    let signature = keys.agreement(client.genesis_hash(), provider);
    let MachineRegistration {
        class,
        slots,
        cpu_cores,
        ram_mib,
        disk_gib,
        upload_mbps,
        download_mbps,
        ..
    } = registration;
    let provider = AccountId::from(provider);
    format!(
        "this machine is not registered. Its provider {provider} has to sign these calls:\n\
         \x20 1. ProviderRegistry.register_provider(name: {:?}), unless it is a provider already\n\
         \x20 2. ProviderRegistry.register_machine(registration: {{ worker_key: {worker}, sealing_key: 0x{}, class: \
         {class} ({class_name}), slots: {slots}, cpu_cores: {cpu_cores}, ram_mib: {ram_mib}, disk_gib: {disk_gib}, \
         upload_mbps: {upload_mbps}, download_mbps: {download_mbps}, location: {{ latitude_microdegrees: {}, \
         longitude_microdegrees: {} }}, region: {:?}, endpoint: {:?}, ask: {} }}, worker_signature: 0x{})\n\
         \x20 3. ProviderStaking.bond(machine: the number from the event MachineRegistered, amount: {bond} plancks = {})\n\
         \x20 4. Balances.transfer_keep_alive(dest: {worker}, value: {WORKER_ENDOWMENT} plancks = {})\n\
         The worker checks again every half minute and goes on by itself",
        config.node.node_name,
        hex::encode(registration.sealing_key),
        registration.location.latitude_microdegrees,
        registration.location.longitude_microdegrees,
        registration.region,
        registration.endpoint,
        registration.ask,
        hex::encode(signature),
        format_asy(bond),
        format_asy(WORKER_ENDOWMENT),
    )
}

/// Returns the instructions for a machine that another worker key now acts for.
pub(super) fn rotating(
    client: &ChainClient,
    keys: &Keys,
    machine: u64,
    record: &Machine,
    needs_fees: bool,
) -> String {
    format!(
        "the worker key {} acts for machine {machine} now, and this worker has {}: the machine's keys were rotated, or \
         this worker's files are not the machine's any more. Containers go on, but this worker does nothing for their \
         jobs. Where another worker serves the machine, stop this one; where this one should, put the machine's keys \
         into `assay.worker_key_file` and `assay.sealing_key_file` and start the worker anew; or have the provider \
         give the machine this worker's keys, then the worker goes on by itself:\n\
         \x20 {}",
        record.worker_key,
        keys.worker_account(),
        rotation_command(client, keys, machine, &record.provider, needs_fees)
    )
}

/// Returns the command with which a provider gives a machine the keys of this worker.
///
/// It contains the worker key's agreement to serve that provider, and no secret.
pub(super) fn rotation_command(
    client: &ChainClient,
    keys: &Keys,
    machine: u64,
    provider: &AccountId,
    needs_fees: bool,
) -> String {
    let agreement = keys.agreement(client.genesis_hash(), provider.0);
    let fees = if needs_fees {
        format!(" --endow {}", WORKER_ENDOWMENT / ASY)
    } else {
        String::new()
    };
    command(machine, client.url(), keys, &agreement, &fees)
}

fn command(machine: u64, url: &str, keys: &Keys, agreement: &[u8; 64], fees: &str) -> String {
    format!(
        "assay machine rotate-keys {machine} --worker-account {} --worker-signature 0x{} --sealing-public-key 0x{}\
         {fees} --url {url} --key-file PROVIDER_KEY_FILE",
        keys.worker_account(),
        hex::encode(agreement),
        hex::encode(keys.sealing_public())
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use x25519_dalek::StaticSecret;

    use super::*;

    #[test]
    fn rotation_is_told_as_one_command_without_a_secret() {
        let worker = assay_client::keys::keypair_from_uri("//Eve").unwrap();
        let keys = Keys::new(worker, StaticSecret::from([7; 32]), None);
        let public = hex::encode(keys.sealing_public());
        assert_eq!(
            command(5, "ws://127.0.0.1:9944", &keys, &[9; 64], " --endow 10"),
            format!(
                "assay machine rotate-keys 5 --worker-account {} --worker-signature 0x{} --sealing-public-key 0x{public} \
                 --endow 10 --url ws://127.0.0.1:9944 --key-file PROVIDER_KEY_FILE",
                keys.worker_account(),
                "09".repeat(64)
            )
        );
        assert_ne!(public, hex::encode(keys.sealing.to_bytes()));
    }
}
