module order_summary

go 1.25
