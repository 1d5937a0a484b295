//! `assay manifest`: orders in files.

use std::path::PathBuf;

use assay_client::order::file;
use clap::Subcommand;
use serde_json::Value;

use crate::output::Output;

/// JSON Schema of the file.
const SCHEMA: &str = include_str!("../../../docs/compute-manifest.schema.json");

/// Commands about compute-manifest.yaml.
#[derive(Debug, Subcommand)]
pub(crate) enum Options {
    /// Check a compute-manifest.yaml, and tell what its order means; nothing is sent
    ///
    /// Every mistake is named with its line. The secrets that the file names are read, and not shown.
    Check {
        /// The file
        #[arg(value_name = "FILE", default_value = file::DEFAULT_FILE_NAME)]
        file: PathBuf,
    },
    /// Print the JSON Schema of compute-manifest.yaml, for editors
    Schema,
}

pub(crate) fn run(options: &Options, output: &Output) -> anyhow::Result<()> {
    match options {
        Options::Check { file } => {
            let spec = file::load(file)?;
            let lines: Vec<String> = spec
                .describe()
                .into_iter()
                .map(|line| format!("\n  {line}"))
                .collect();
            output.print(
                &spec.to_json()?,
                format_args!("{} is an order that{}", file.display(), lines.concat()),
            )
        }
        Options::Schema => {
            let schema: Value = serde_json::from_str(SCHEMA)?;
            output.print(&schema, SCHEMA.trim_end())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use assay_client::order::OrderSpec;

    use super::*;

    #[test]
    fn orders_are_printed_as_the_schema_says() {
        let spec = OrderSpec::new("registry.example/team/finetune:v2.4".parse().unwrap());
        crate::schema::assert_is("order", &spec.to_json().unwrap());
    }

    #[test]
    fn schema_is_json() {
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        assert_eq!(schema["title"], file::DEFAULT_FILE_NAME);
    }
}
