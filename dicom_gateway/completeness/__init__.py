"""When a study is complete: quiet long enough, all that its source holds, all that its routes wait for, or overdue."""
