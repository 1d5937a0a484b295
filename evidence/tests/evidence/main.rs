//! Real evidence of every vendor, and everything that must be refused.

extern crate alloc;

mod certificates;
mod hostile;
mod intel;
mod nvidia;
mod oracle;
mod real;
mod snp;
mod support;
