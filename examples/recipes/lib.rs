//! Recipes; see the README of this folder.
