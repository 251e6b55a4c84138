// Command testcount runs `go test -json` with its arguments, shows one line a package and everything that failing tests
// printed, and ends with "N passed, N failed, N skipped".
//
//	testcount [-summary FILE] -- [arguments of go test]
//
// With NFT_OFFLOAD_STRICT set a skipped test is a failure: the machine lacks what it ought to have.
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr, os.Getenv); err != nil {
		fmt.Fprintln(os.Stderr, "testcount:", err)
		os.Exit(1)
	}
}
