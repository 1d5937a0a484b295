//! What a provider stands to lose: a bond for each machine.

#![cfg_attr(not(feature = "std"), no_std)]
