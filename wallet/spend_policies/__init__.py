"""Spend policies as people meet them: made from templates, told in words, checked for traps, remembered, spent."""
