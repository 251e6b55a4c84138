package datapath

//go:generate go tool bpf2go -go-package datapath -cc clang-19 -strip llvm-strip-19 -target bpfel -type hot -type cold -type flow4 -type flow6 -type key4 -type key6 -type adj -type adj_key -type settings -type device -type counter -type hold -type end_args -type refusal -type refused_key nfo bpf/nfo.bpf.c -- -O2 -fno-strict-aliasing -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu
