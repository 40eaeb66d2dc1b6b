module {{name}}

go 1.25

require github.com/laterna/laterna/plugins/sdk/go v0.0.0

replace github.com/laterna/laterna/plugins/sdk/go => ./sdk
