module subscriber-registry/adapter

go 1.19
