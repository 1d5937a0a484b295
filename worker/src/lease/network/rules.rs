//! The text of the firewall's rules, for `nft -f`.
//!
//! The worker has one table. Its chains drop what they do not let pass, and a drop is final: rules that the
//! engine or the host have of their own cannot bring a packet back.
//!
//! ```text
//! container ─▶ elsewhere    forward  out_<bridge>    limit; replies; special addresses; the manifest's wish
//! container ─▶ host         input    host_<bridge>   limit; replies; questions to the worker's resolver
//! elsewhere ─▶ container    forward  in_<bridge>     limit; replies; published ports
//! host      ─▶ container    output   self_<bridge>   limit
//! ```
//!
//! The rules match bridges by name, also before a bridge exists. One that begins like the worker's own and
//! has no chains yet lets nothing pass. All names come from the worker, and all addresses and numbers are
//! typed: no text of a manifest reaches the firewall.

use std::{fmt::Write, net::Ipv4Addr, time::Duration};

use ipnet::Ipv4Net;

use super::address;

/// Maximum rate of a limit, in bytes per second (100 Gbit/s): the kernel refuses limits that it cannot count.
const MAX_RATE: u64 = 12_500_000_000;

/// Maximum number of addresses of a job's allowed names.
pub(super) const MAX_PINS: usize = 4_096;

/// End of a rule that refuses a packet, and says so to its sender, which need not wait for a timeout.
const REJECT: &str = "reject with icmpx type admin-prohibited";

/// Name of the worker's table, and beginning of the names of its bridges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableNames {
    /// Six hexadecimal digits that distinguish the worker from others on the host.
    pub(super) id: String,
}

impl TableNames {
    pub(super) fn table(&self) -> String {
        format!("assay_{}", self.id)
    }

    /// Returns the name of the bridge with a number. The kernel allows 15 bytes.
    pub(super) fn bridge(&self, number: u32) -> String {
        format!("{}{number:x}", self.prefix())
    }

    fn prefix(&self) -> String {
        format!("asy{}", self.id)
    }
}

/// Destinations of a job's own connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// None: published ports only.
    Off,
    /// The public network.
    On,
    /// Listed destinations.
    Allow {
        /// Networks with a port; `None` for all ports.
        networks: Vec<(Ipv4Net, Option<u16>)>,
        /// True if names are allowed as well, whose addresses are pinned as they are resolved.
        has_names: bool,
    },
}

/// Rules of one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JobRules {
    /// Name of the job's bridge.
    pub(super) bridge: String,
    /// Address of the host on the bridge.
    pub(super) gateway: Ipv4Addr,
    /// Address of the container.
    pub(super) container: Ipv4Addr,
    /// Destinations.
    pub(super) access: Access,
    /// Published TCP ports of the container.
    pub(super) tcp_ports: Vec<u16>,
    /// Published UDP ports of the container.
    pub(super) udp_ports: Vec<u16>,
    /// Limit of everything that the container sends, in bytes per second.
    pub(super) upload: u64,
    /// Limit of everything that it receives, in bytes per second.
    pub(super) download: u64,
}

/// Address of an allowed name, with the port of its destination and the rest of its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pin {
    pub(super) address: Ipv4Addr,
    pub(super) port: Option<u16>,
    pub(super) left: Duration,
}

/// Commands of one transaction.
struct Script {
    table: String,
    text: String,
}

impl Script {
    fn new(names: &TableNames) -> Self {
        let table = names.table();
        let text = format!("add table inet {table}\n");
        Self { table, text }
    }

    fn line(&mut self, verb: &str, object: &str, rest: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{verb} {object} inet {} {rest}", self.table);
    }

    fn rules(&mut self, chain: &str, rules: &[String]) {
        for rule in rules {
            self.line("add", "rule", &format!("{chain} {rule}"));
        }
    }

    /// Makes a chain empty, whether or not it exists.
    fn empty_chain(&mut self, chain: &str, definition: &str) {
        self.line("add", "chain", &format!("{chain}{definition}"));
        self.line("flush", "chain", chain);
    }
}

/// Maps from a bridge to its chain: name, and beginning of the chain's name.
const MAPS: [(&str, &str); 4] = [
    ("from_job", "out"),
    ("to_job", "in"),
    ("to_host", "host"),
    ("from_host", "self"),
];

/// Returns the table's own chains, which send each packet of a bridge to the chains of its job.
pub(super) fn base(names: &TableNames) -> String {
    let mut script = Script::new(names);
    for (map, _) in MAPS {
        script.line("add", "map", &format!("{map} {{ type ifname : verdict; }}"));
    }
    for hook in ["forward", "input", "output"] {
        let definition = format!(" {{ type filter hook {hook} priority -5; policy accept; }}");
        script.empty_chain(hook, &definition);
    }
    script.empty_chain("special", "");
    let special: Vec<_> = address::unreachable()
        .map(|network| network.to_string())
        .collect();
    script.rules(
        "special",
        &[format!("ip daddr {{ {} }} {REJECT}", special.join(", "))],
    );
    let own = format!("\"{}*\"", names.prefix());
    let owned = |rules: &[&str]| {
        rules
            .iter()
            .map(|rule| rule.replace("OWN", &own))
            .collect::<Vec<_>>()
    };
    script.rules(
        "forward",
        &owned(&[
            "iifname vmap @from_job",
            "oifname vmap @to_job",
            "iifname OWN drop",
            "oifname OWN drop",
        ]),
    );
    script.rules("input", &owned(&["iifname vmap @to_host", "iifname OWN drop"]));
    script.rules("output", &owned(&["oifname vmap @from_host", "oifname OWN drop"]));
    script.text
}

/// Returns the chains of a job, in place of those that it has.
pub(super) fn job(names: &TableNames, rules: &JobRules) -> String {
    let JobRules {
        bridge,
        gateway,
        container,
        ..
    } = rules;
    let mut script = Script::new(names);
    for chain in job_chains(bridge) {
        script.empty_chain(&chain, "");
    }
    add_sets(&mut script, bridge);
    let limit = |rate: u64| {
        vec![format!(
            "limit rate over {} bytes/second drop",
            rate.clamp(1, MAX_RATE)
        )]
    };
    script.rules(&format!("up_{bridge}"), &limit(rules.upload));
    script.rules(&format!("down_{bridge}"), &limit(rules.download));

    let texts = |rules: &[&str]| rules.iter().map(|rule| (*rule).to_owned()).collect::<Vec<_>>();
    let ipv4_only = "meta nfproto != ipv4 drop";
    let not_forged = format!("ip saddr != {container} drop");
    let up = format!("jump up_{bridge}");
    let down = format!("jump down_{bridge}");
    let replies = "ct direction reply ct state { established, related } accept";

    let mut out = texts(&[ipv4_only, &not_forged, &up, replies]);
    out.extend(destinations(bridge, &rules.access));
    script.rules(&format!("out_{bridge}"), &out);

    let mut host = texts(&[ipv4_only, &not_forged, &up, replies]);
    if let Access::Allow { has_names: true, .. } = rules.access {
        host.push(format!("ip daddr {gateway} udp dport 53 accept"));
    }
    host.push(REJECT.to_owned());
    script.rules(&format!("host_{bridge}"), &host);

    let mut inward = texts(&[ipv4_only, &down, replies]);
    for (protocol, ports) in [("tcp", &rules.tcp_ports), ("udp", &rules.udp_ports)] {
        if !ports.is_empty() {
            let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
            // Only connections that the engine forwarded from the host's port: no other route leads into the
            // network.
            inward.push(format!(
                "ct status dnat ip daddr {container} {protocol} dport {{ {} }} accept",
                ports.join(", ")
            ));
        }
    }
    inward.push("drop".to_owned());
    script.rules(&format!("in_{bridge}"), &inward);

    script.rules(&format!("self_{bridge}"), &texts(&[ipv4_only, &down, "accept"]));
    for (map, chain) in MAPS {
        script.line("add", "element", &element(map, chain, bridge));
    }
    script.text
}

/// Returns the rules of a job's own connections beyond the host.
fn destinations(bridge: &str, access: &Access) -> Vec<String> {
    let transport = "meta l4proto { tcp, udp }";
    let mut rules = Vec::new();
    match access {
        Access::Off => (),
        Access::On => {
            rules.push("meta l4proto != { tcp, udp, icmp } drop".to_owned());
            rules.push("jump special".to_owned());
            rules.push("accept".to_owned());
        }
        Access::Allow { networks, has_names } => {
            rules.push("meta l4proto != { tcp, udp, icmp } drop".to_owned());
            rules.push("jump special".to_owned());
            rules.push("ct state { established, related } accept".to_owned());
            for (network, port) in networks {
                rules.push(match port {
                    Some(port) => format!("ip daddr {network} {transport} th dport {port} accept"),
                    None => format!("ip daddr {network} accept"),
                });
            }
            if *has_names {
                rules.push(format!("ip daddr @names_{bridge} accept"));
                rules.push(format!("{transport} ip daddr . th dport @ports_{bridge} accept"));
            }
        }
    }
    rules.push(REJECT.to_owned());
    rules
}

/// Returns the present addresses of a job's allowed names, in place of those that it has.
pub(super) fn pins(names: &TableNames, bridge: &str, pins: &[Pin]) -> String {
    let mut script = Script::new(names);
    add_sets(&mut script, bridge);
    for set in ["names", "ports"] {
        script.line("flush", "set", &format!("{set}_{bridge}"));
    }
    let elements = |with_port: bool| {
        let elements: Vec<_> = pins
            .iter()
            .filter(|pin| pin.port.is_some() == with_port)
            .map(|Pin { address, port, left }| {
                let port = port.map_or_else(String::new, |port| format!(" . {port}"));
                format!("{address}{port} timeout {}s", left.as_secs().max(1))
            })
            .collect();
        elements.join(", ")
    };
    for (set, with_port) in [("names", false), ("ports", true)] {
        let elements = elements(with_port);
        if !elements.is_empty() {
            script.line("add", "element", &format!("{set}_{bridge} {{ {elements} }}"));
        }
    }
    script.text
}

/// Returns the removal of a job's chains, whether or not it has them.
pub(super) fn remove(names: &TableNames, bridge: &str) -> String {
    let mut script = Script::new(names);
    for chain in job_chains(bridge) {
        script.empty_chain(&chain, "");
    }
    add_sets(&mut script, bridge);
    for (map, chain) in MAPS {
        script.line("add", "map", &format!("{map} {{ type ifname : verdict; }}"));
        script.line("add", "element", &element(map, chain, bridge));
        script.line("delete", "element", &format!("{map} {{ \"{bridge}\" }}"));
    }
    for chain in job_chains(bridge) {
        script.line("delete", "chain", &chain);
    }
    for set in ["names", "ports"] {
        script.line("delete", "set", &format!("{set}_{bridge}"));
    }
    script.text
}

fn element(map: &str, chain: &str, bridge: &str) -> String {
    format!("{map} {{ \"{bridge}\" : jump {chain}_{bridge} }}")
}

fn job_chains(bridge: &str) -> [String; 6] {
    ["out", "in", "host", "self", "up", "down"].map(|chain| format!("{chain}_{bridge}"))
}

fn add_sets(script: &mut Script, bridge: &str) {
    for (set, kind) in [("names", "ipv4_addr"), ("ports", "ipv4_addr . inet_service")] {
        let definition = format!("{set}_{bridge} {{ type {kind}; flags timeout; size {MAX_PINS}; }}");
        script.line("add", "set", &definition);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn names() -> TableNames {
        TableNames { id: "ab12cd".into() }
    }

    fn rules(access: Access) -> JobRules {
        JobRules {
            bridge: names().bridge(0x1f),
            gateway: [10, 231, 0, 125].into(),
            container: [10, 231, 0, 126].into(),
            access,
            tcp_ports: vec![22, 8080],
            udp_ports: vec![],
            upload: 5_000_000,
            download: u64::MAX,
        }
    }

    /// Returns the rules of one chain.
    fn chain(text: &str, chain: &str) -> Vec<String> {
        let begin = format!("add rule inet assay_ab12cd {chain} ");
        text.lines()
            .filter_map(|line| line.strip_prefix(&begin).map(str::to_owned))
            .collect()
    }

    #[test]
    fn names_fit_the_kernel() {
        // The most bridges that a pool has: as many as networks of four addresses in one of prefix 8.
        let longest = names().bridge((1 << 22) - 1);
        assert_eq!(longest, "asyab12cd3fffff");
        assert!(longest.len() <= 15);
    }

    #[test]
    fn base_lets_nothing_of_an_unknown_bridge_pass() {
        let text = base(&names());
        assert_eq!(
            chain(&text, "forward"),
            [
                "iifname vmap @from_job",
                "oifname vmap @to_job",
                "iifname \"asyab12cd*\" drop",
                "oifname \"asyab12cd*\" drop",
            ]
        );
        assert_eq!(
            chain(&text, "input"),
            ["iifname vmap @to_host", "iifname \"asyab12cd*\" drop"]
        );
        assert_eq!(
            chain(&text, "output"),
            ["oifname vmap @from_host", "oifname \"asyab12cd*\" drop"]
        );
        assert_eq!(
            chain(&text, "special"),
            [
                "ip daddr { 0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, \
                 192.0.0.0/24, 192.0.2.0/24, 192.88.99.0/24, 192.168.0.0/16, 198.18.0.0/15, 198.51.100.0/24, \
                 203.0.113.0/24, 224.0.0.0/4, 240.0.0.0/4, 168.63.129.16/32 } reject with icmpx type admin-prohibited"
            ]
        );
        for hook in ["forward", "input", "output"] {
            let line = format!(
                "add chain inet assay_ab12cd {hook} {{ type filter hook {hook} priority -5; policy accept; }}"
            );
            assert!(text.contains(&line), "{text}");
        }
    }

    #[test]
    fn job_with_the_public_network_is_pinned() {
        let text = job(&names(), &rules(Access::On));
        assert_eq!(
            chain(&text, "out_asyab12cd1f"),
            [
                "meta nfproto != ipv4 drop",
                "ip saddr != 10.231.0.126 drop",
                "jump up_asyab12cd1f",
                "ct direction reply ct state { established, related } accept",
                "meta l4proto != { tcp, udp, icmp } drop",
                "jump special",
                "accept",
                REJECT,
            ]
        );
        assert_eq!(
            chain(&text, "host_asyab12cd1f"),
            [
                "meta nfproto != ipv4 drop",
                "ip saddr != 10.231.0.126 drop",
                "jump up_asyab12cd1f",
                "ct direction reply ct state { established, related } accept",
                REJECT,
            ]
        );
        assert_eq!(
            chain(&text, "in_asyab12cd1f"),
            [
                "meta nfproto != ipv4 drop",
                "jump down_asyab12cd1f",
                "ct direction reply ct state { established, related } accept",
                "ct status dnat ip daddr 10.231.0.126 tcp dport { 22, 8080 } accept",
                "drop",
            ]
        );
        assert_eq!(
            chain(&text, "self_asyab12cd1f"),
            ["meta nfproto != ipv4 drop", "jump down_asyab12cd1f", "accept"]
        );
        assert_eq!(
            chain(&text, "up_asyab12cd1f"),
            ["limit rate over 5000000 bytes/second drop"]
        );
        assert_eq!(
            chain(&text, "down_asyab12cd1f"),
            ["limit rate over 12500000000 bytes/second drop"]
        );
        let last: Vec<_> = text.lines().rev().take(4).collect();
        assert_eq!(
            last,
            [
                "add element inet assay_ab12cd from_host { \"asyab12cd1f\" : jump self_asyab12cd1f }",
                "add element inet assay_ab12cd to_host { \"asyab12cd1f\" : jump host_asyab12cd1f }",
                "add element inet assay_ab12cd to_job { \"asyab12cd1f\" : jump in_asyab12cd1f }",
                "add element inet assay_ab12cd from_job { \"asyab12cd1f\" : jump out_asyab12cd1f }",
            ]
        );
    }

    #[test]
    fn job_with_ports_only_begins_no_connection() {
        let text = job(&names(), &rules(Access::Off));
        let out = chain(&text, "out_asyab12cd1f");
        assert_eq!(
            out[3..],
            [
                "ct direction reply ct state { established, related } accept",
                REJECT
            ]
        );
    }

    #[test]
    fn listed_destinations_come_after_special_addresses() {
        let text = job(
            &names(),
            &rules(Access::Allow {
                networks: vec![
                    ("1.2.3.0/24".parse().unwrap(), Some(443)),
                    ("0.0.0.0/0".parse().unwrap(), None),
                ],
                has_names: true,
            }),
        );
        assert_eq!(
            chain(&text, "out_asyab12cd1f")[4..],
            [
                "meta l4proto != { tcp, udp, icmp } drop",
                "jump special",
                "ct state { established, related } accept",
                "ip daddr 1.2.3.0/24 meta l4proto { tcp, udp } th dport 443 accept",
                "ip daddr 0.0.0.0/0 accept",
                "ip daddr @names_asyab12cd1f accept",
                "meta l4proto { tcp, udp } ip daddr . th dport @ports_asyab12cd1f accept",
                REJECT,
            ]
        );
        let host = chain(&text, "host_asyab12cd1f");
        assert_eq!(host[4..], ["ip daddr 10.231.0.125 udp dport 53 accept", REJECT,]);
    }

    #[test]
    fn pins_replace_those_before() {
        let pin = |last, port, seconds| Pin {
            address: [1, 2, 3, last].into(),
            port,
            left: Duration::from_secs(seconds),
        };
        let text = pins(
            &names(),
            "asyab12cd1f",
            &[pin(4, None, 3_600), pin(5, Some(443), 0), pin(6, Some(80), 60)],
        );
        let lines: Vec<_> = text.lines().skip(3).collect();
        assert_eq!(
            lines,
            [
                "flush set inet assay_ab12cd names_asyab12cd1f",
                "flush set inet assay_ab12cd ports_asyab12cd1f",
                "add element inet assay_ab12cd names_asyab12cd1f { 1.2.3.4 timeout 3600s }",
                "add element inet assay_ab12cd ports_asyab12cd1f { 1.2.3.5 . 443 timeout 1s, 1.2.3.6 . 80 timeout 60s }",
            ]
        );
    }
}
