//! Who offers which hardware, where, and at what price.

#![cfg_attr(not(feature = "std"), no_std)]
