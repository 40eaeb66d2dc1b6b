module github.com/laterna/laterna/plugins/sdk/go

go 1.25
