//! `assay machine find`

use assay_client::{
    AccountId,
    consumer::describe_mismatch,
    json,
    market::{Cursor, FindOptions, FoundMachines, MAX_PAGE_OFFERS, MachineView, Requirements, ServiceRecord},
    units::{format_asy, format_ppm},
};
use clap::Args;
use serde_json::json;

use super::requirements::{RequirementOptions, refusal};
use crate::{connection::Connection, numbers::parse_hex, output::Output};

/// Machines to find, and the number of them to show.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Maximum number of machines to show at once, at most 100
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PAGE_OFFERS)))]
    limit: u32,

    /// Continue after an earlier answer: its cursor
    #[arg(long, value_name = "HEX", value_parser = parse_cursor)]
    cursor: Option<Cursor>,

    /// Show all pages
    #[arg(long)]
    all: bool,

    /// Also list the machines that were passed over, with the reasons
    #[arg(long)]
    explain: bool,

    // Last, because its heading would cover the options behind it.
    #[command(flatten)]
    requirements: RequirementOptions,
}

fn parse_cursor(text: &str) -> Result<Cursor, String> {
    parse_hex(text)
        .map(Cursor)
        .map_err(|error| format!("{error}: write it as the answer before shows it"))
}

pub(super) async fn run(options: Options, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let wanted = Requirements::from(options.requirements);
    let client = connection.client().await?;
    let mut pages = client.offer_pages(
        wanted.clone(),
        FindOptions {
            limit: Some(options.limit),
            cursor: options.cursor,
            explain: options.explain,
            at: None,
        },
    );
    let mut printer = Printer {
        output,
        wanted: &wanted,
        offers: 0,
    };
    let mut next = None;
    loop {
        let page = match pages.next().await {
            Ok(Some(page)) => page,
            Ok(None) => break,
            Err(error) => return Err(refusal(&client, &wanted, error).await),
        };
        next = page.next;
        printer.page(&page)?;
        if !options.all {
            break;
        }
    }
    printer.end(next, options.explain)
}

/// Prints offers as they come.
struct Printer<'a> {
    output: &'a Output,
    wanted: &'a Requirements,
    offers: usize,
}

impl Printer<'_> {
    fn page(&mut self, page: &FoundMachines) -> anyhow::Result<()> {
        for offer in &page.offers {
            if self.offers == 0 && !self.output.is_json() {
                self.output.line(self.header())?;
            }
            self.offers += 1;
            self.output.print(&json::to_value(offer)?, self.row(offer))?;
        }
        for passed_over in &page.passed_over {
            let reasons: Vec<_> = passed_over
                .mismatches
                .iter()
                .map(|mismatch| describe_mismatch(mismatch, self.wanted))
                .collect();
            let text = format!(
                "passed over: machine {}: {}",
                passed_over.machine,
                reasons.join("; ")
            );
            self.output.print(&json::to_value(passed_over)?, text)?;
        }
        Ok(())
    }

    /// Prints the command for the next page.
    fn end(&self, next: Option<Cursor>, explained: bool) -> anyhow::Result<()> {
        let text = match (self.offers, next) {
            (0, None) if explained => "no machine on offer meets this".to_owned(),
            (0, None) => {
                "no machine on offer meets this; ask for less, or add --explain to see why machines \
                          are passed over"
                    .to_owned()
            }
            (0, Some(cursor)) => format!(
                "none of the machines looked at so far meets this; go on with --cursor {} or --all",
                format_cursor(&cursor)
            ),
            (_, None) => return self.end_for_programs(next),
            (_, Some(cursor)) => format!(
                "there may be more: the same command with --cursor {}, or --all",
                format_cursor(&cursor)
            ),
        };
        if !self.output.is_json() {
            self.output.line(text)?;
        }
        self.end_for_programs(next)
    }

    /// The last object of the JSON output has the cursor of the next page, `null` at the end.
    fn end_for_programs(&self, next: Option<Cursor>) -> anyhow::Result<()> {
        if self.output.is_json() {
            self.output.line(json!({ "next": next }))?;
        }
        Ok(())
    }

    fn header(&self) -> String {
        format!(
            "{:>7}  {:<11}  {:<20}  {:>7}  {:<16}{}  {:>9}  {:>13}  {:>24}  per TFLOPS-hour",
            "machine",
            "provider",
            "class",
            "free",
            "region",
            self.distance_column("distance".to_owned()),
            "uptime",
            "kept/broken",
            "ask per slot-hour",
        )
    }

    fn row(&self, offer: &MachineView) -> String {
        format!(
            "{:>7}  {:<11}  {:<20}  {:>3}/{:<3}  {:<16}{}  {:>9}  {:>13}  {:>24}  {}",
            offer.machine,
            shortened(&offer.provider),
            String::from_utf8_lossy(&offer.gpu_type),
            offer.free_slots,
            offer.slots,
            String::from_utf8_lossy(&offer.region),
            self.distance_column(offer.distance_m.map_or_else(String::new, format_distance)),
            format_ppm(offer.uptime_ppm),
            kept_and_broken(&offer.service),
            format_asy(offer.price_per_slot_hour),
            offer
                .price_per_tflops_hour
                .map_or_else(|| "-".to_owned(), format_asy),
        )
    }

    /// Formats the column for distances, which is absent if there are none.
    fn distance_column(&self, text: String) -> String {
        match self.wanted.near {
            Some(_) => format!("  {text:>9}"),
            None => String::new(),
        }
    }
}

/// Returns an account's address, shortened to its ends.
fn shortened(account: &AccountId) -> String {
    let text = account.to_string();
    let (start, end) = (text.get(..6), text.get(text.len().saturating_sub(4)..));
    match (start, end) {
        (Some(start), Some(end)) => format!("{start}…{end}"),
        _ => text,
    }
}

/// Formats the number of fulfilled leases, and of those that the machine did not start or finish.
fn kept_and_broken(service: &ServiceRecord) -> String {
    format!(
        "{}/{}",
        service.fulfilled,
        service.not_started.saturating_add(service.abandoned)
    )
}

fn format_distance(metres: u32) -> String {
    if metres < 1_000 {
        format!("{metres} m")
    } else {
        format!("{}.{} km", metres / 1_000, metres % 1_000 / 100)
    }
}

fn format_cursor(cursor: &Cursor) -> String {
    format!("0x{}", hex::encode(cursor.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_is_shown() {
        let cursor = Cursor([0xab; 25]);
        assert_eq!(parse_cursor(&format_cursor(&cursor)), Ok(cursor));
        assert!(parse_cursor("0xab").is_err());
    }

    #[test]
    fn offers_are_printed_as_the_schema_says() {
        let page = json!({
            "at": format!("0x{}", "11".repeat(32)),
            "offers": [{
                "machine": 7,
                "provider": AccountId::from([1; 32]),
                "workerKey": AccountId::from([2; 32]),
                "sealingKey": format!("0x{}", "22".repeat(32)),
                "status": "active",
                "class": 3,
                "gpuType": "NVIDIA_H100",
                "vramMib": 81_920,
                "cudaCores": 16_896,
                "computeScore": 989,
                "slots": 8,
                "freeSlots": 2,
                "cpuCores": 64,
                "ramMib": 524_288,
                "diskGib": 2_000,
                "uploadMbps": 1_000,
                "downloadMbps": 1_000,
                "region": "us-east",
                "location": { "latitudeMicrodegrees": -33_900_000, "longitudeMicrodegrees": 151_200_000 },
                "distanceM": 1_500,
                "endpoint": "http://127.0.0.1:4001",
                "pricePerSlotHour": "340282366920938463463",
                "nextPricePerSlotHour": null,
                "nextPriceFromMs": null,
                "pricePerTflopsHour": null,
                "uptimePpm": 995_000,
                "teeKinds": ["sevSnp"],
                "service": {
                    "fulfilled": 5, "cancelled": 4, "notStarted": 3, "abandoned": 2, "unresolved": 1,
                },
            }],
            "next": format!("0x{}", "ab".repeat(25)),
            "passedOver": [{ "machine": 9, "mismatches": [{ "requirement": "status", "found": "draining" }] }],
        });
        let page: FoundMachines = serde_json::from_value(page).expect("a page as the node writes it");
        let offer = json::to_value(&page.offers[0]).expect("it is JSON");
        crate::schema::assert_is("offer", &offer);
        let passed_over = json::to_value(&page.passed_over[0]).expect("it is JSON");
        crate::schema::assert_is("mismatches", &passed_over);
        crate::schema::assert_is("next", &json!({ "next": page.next }));
        crate::schema::assert_is("next", &json!({ "next": null }));
    }

    #[test]
    fn leases_are_kept_or_broken() {
        let service = ServiceRecord {
            fulfilled: 12,
            cancelled: 7,
            not_started: 1,
            abandoned: 2,
            unresolved: 9,
        };
        assert_eq!(kept_and_broken(&service), "12/3");
    }

    #[test]
    fn distances_are_short() {
        assert_eq!(format_distance(999), "999 m");
        assert_eq!(format_distance(1_000), "1.0 km");
        assert_eq!(format_distance(12_399), "12.3 km");
    }

    #[test]
    fn accounts_are_shortened_to_their_ends() {
        let account = AccountId::from([1; 32]);
        let short = shortened(&account);
        assert_eq!(short.chars().count(), 11);
        assert!(account.to_string().starts_with(&short[..6]));
    }
}
