//! Jobs and the money that is held, streamed and returned for them.

#![cfg_attr(not(feature = "std"), no_std)]
