// Package tree is a search tree that a BPF program reads while user space changes it: disjoint intervals of keys, each
// with a number. It lives in an arena, the memory of a BPF array map whose values are the tree's pages, mapped into this
// process. Here is what writes it; package lookup generates the instructions that read it.
//
// # Pages
//
// A page is an array of records, in the order of their keys, and has no header. Records of a leaf are (first, last,
// data); those of an inner page are (key, page), key being the lowest that is below that page. Places behind the last
// record repeat it: so a search runs over the whole page, in steps that do not depend on what is in it, and never asks
// how many records there are.
//
// Page 0 is the header. Its first number is the root: page<<3 | height. A root of 0 is an empty tree; a tree of height
// 0 is one leaf. The pages behind the header that Options.Reserved asks for are the caller's (package tuple).
//
// # Changes
//
// A change copies the pages from the leaf to the root, and everything else stays. It is published by one atomic store
// of the header's root, so a reader sees the tree of before or of after, however much was changed at once. The pages
// that were replaced are used again when Options.Grace has returned, which waits for all readers that may still be in
// them. It is called only when no other page is free, so its price is shared by many changes.
//
// Changes are of one goroutine at a time. Numbers are in the machine's byte order, which has to be little endian.
package tree
