//! Tests on real evidence of every vendor, and on evidence that must be refused.

extern crate alloc;

mod certificates;
mod hostile;
mod intel;
mod nvidia;
mod oracle;
mod real;
mod snp;
mod support;
