// Command nft-offload carries established flows of an nftables router past the slow path.
package main

import "os"

func main() {
	os.Exit(run(processEnv()))
}
