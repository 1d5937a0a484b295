//! A capped, decaying emission shared among proven machines, and the flywheel's accounts.

#![cfg_attr(not(feature = "std"), no_std)]
