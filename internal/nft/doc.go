// Package nft is the way to nftables: it runs nft(8) to list and to load rulesets, rewrites `flow add` for kernels
// without flowtables (Lower), reads rulesets as values without loading them (Read), keeps the table that `enable`
// makes, and watches for changes over netlink.
//
// nft parses the language and the kernel keeps the truth; this package reads rules only as nft prints them, and its
// lexer knows no more of the language than where a `flowtable` block and a `flow add` statement begin and end.
//
// Everything acts in the network namespace of the calling OS thread: a caller that changed namespaces has locked its
// goroutine to the thread, and commands started from there inherit the namespace.
package nft
